"""The commands of `tapewatch`, one group per file: they parse, call a function and print what it gives."""
