# The matrix product behind model/cpu_gemm.h. Which library is a build choice; see docs/performance.md.
