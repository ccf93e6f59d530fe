"""Unit constants. Inside the package everything is SI: seconds, bytes, tokens, FLOP/s, dollars."""

KB, MB, GB, TB = 1e3, 1e6, 1e9, 1e12
KIB, MIB, GIB = 2**10, 2**20, 2**30
US, MS, MINUTE, HOUR, DAY = 1e-6, 1e-3, 60.0, 3600.0, 86400.0
HOURS_PER_MONTH = 730.0
GFLOPS, TFLOPS = 1e9, 1e12

BYTES_OF = {
    "fp32": 4,
    "bf16": 2,
    "fp16": 2,
    **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "int8"), 1),
}
"""Bytes of one value by type; block-scaled types (NVFP4, MXFP4) have scales of their own beside it."""
