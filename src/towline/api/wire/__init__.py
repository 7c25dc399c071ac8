"""Every outside field name, status word and validation rule; nothing here does I/O."""
