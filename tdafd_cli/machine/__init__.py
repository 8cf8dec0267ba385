"""What the computer offers, and what a computation took of it.

Used elsewhere: `devices.choose_device`, `devices.choose_precision`, `devices.threads_limited`,
`memory.free_memory`, `memory.peak_memory`, `memory.freed_memory_kept` and `metering.metered`.
"""
