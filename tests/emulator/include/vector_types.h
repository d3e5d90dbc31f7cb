/* tests/emulator/include/vector_types.h - small vectors with the alignment that CUDA gives them. C
 * and C++. Kernels read arrays of other types through them, which C++ allows for types marked so.
 */
#ifndef COC_EMULATED_VECTOR_TYPES_H
#define COC_EMULATED_VECTOR_TYPES_H

#define COC_VECTOR(bytes) __attribute__((aligned(bytes), may_alias))

#define COC_VECTORS(type, one, align2, align4)                                                     \
    typedef struct one##2                                                                          \
    {                                                                                              \
        type x, y;                                                                                 \
    }                                                                                              \
    COC_VECTOR(align2) one##2;                                                                     \
    typedef struct one##3                                                                          \
    {                                                                                              \
        type x, y, z;                                                                              \
    }                                                                                              \
    COC_VECTOR(sizeof(type)) one##3;                                                               \
    typedef struct one##4                                                                          \
    {                                                                                              \
        type x, y, z, w;                                                                           \
    }                                                                                              \
    COC_VECTOR(align4) one##4;

COC_VECTORS(signed char, char, 2, 4)
COC_VECTORS(unsigned char, uchar, 2, 4)
COC_VECTORS(short, short, 4, 8)
COC_VECTORS(unsigned short, ushort, 4, 8)
COC_VECTORS(int, int, 8, 16)
COC_VECTORS(unsigned, uint, 8, 16)
COC_VECTORS(long long, longlong, 16, 16)
COC_VECTORS(unsigned long long, ulonglong, 16, 16)
COC_VECTORS(float, float, 8, 16)
COC_VECTORS(double, double, 16, 16)

typedef struct dim3 {
    unsigned x, y, z;
#ifdef __cplusplus
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
#endif
} dim3;

#endif
