"""The rules of health insurance as pure functions, by subject; the kernel reads and writes."""
