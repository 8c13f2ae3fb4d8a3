// CUDA's vector types, with its sizes and alignments.
#pragma once

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

#define TENON_VECTOR_2(name, element, alignment) \
  struct alignas(alignment) name {               \
    element x, y;                                \
  };                                             \
  constexpr name make_##name(element x, element y) { return {x, y}; }
#define TENON_VECTOR_4(name, element, alignment) \
  struct alignas(alignment) name {               \
    element x, y, z, w;                          \
  };                                             \
  constexpr name make_##name(element x, element y, element z, element w) { return {x, y, z, w}; }

TENON_VECTOR_2(float2, float, 8)
TENON_VECTOR_2(int2, int, 8)
TENON_VECTOR_2(uint2, unsigned, 8)
TENON_VECTOR_2(double2, double, 16)
TENON_VECTOR_2(uchar2, unsigned char, 2)
TENON_VECTOR_4(float4, float, 16)
TENON_VECTOR_4(int4, int, 16)
TENON_VECTOR_4(uint4, unsigned, 16)
TENON_VECTOR_4(uchar4, unsigned char, 4)

#undef TENON_VECTOR_2
#undef TENON_VECTOR_4

constexpr uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
