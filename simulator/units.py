"""Unit constants. Inside the package everything is SI: seconds, bytes, tokens, FLOP/s, dollars."""

KB, MB, GB, TB = 1e3, 1e6, 1e9, 1e12
KIB, MIB, GIB = 2**10, 2**20, 2**30
US, MS, MINUTE, HOUR, DAY = 1e-6, 1e-3, 60.0, 3600.0, 86400.0
HOURS_PER_MONTH = 730.0
GFLOPS, TFLOPS = 1e9, 1e12
