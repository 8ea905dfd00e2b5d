"""What people read of an export: its page, its table, its model card."""
