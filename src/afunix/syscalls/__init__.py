"""The raw system call interface: registers and memory in, core calls, registers and memory out."""
