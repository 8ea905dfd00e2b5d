"""Videos, cameras and streams: frames of them, as pictures that every model of facectl takes."""
