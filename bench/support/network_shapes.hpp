// Contractions of ResNet-50 and MobileNet at batches that take 5 to 50 ms on a few cores: read by kernels_bench and by
// the programs that time another library on the same shapes, so that their names mean the same.
#pragma once
#include <cstdint>

namespace tenon::bench {

struct ConvShape {
  const char* label;  // resnet50_2_3x3: the second stage; s2: stride 2; dw: depthwise
  std::int64_t batch, side, channels, filters;
  std::int32_t kernel, stride, pad, groups;
  bool first = false;  // reads the image: nothing asks for its input's gradient

  [[nodiscard]] std::int64_t out_side() const { return (side + 2 * pad - kernel) / stride + 1; }
};

struct MatMulShape {
  const char* label;
  std::int64_t m, n, k;  // (m,k) times (k,n)
};

inline constexpr ConvShape network_convs[] = {
    {"resnet50_1_7x7s2", 8, 224, 3, 64, 7, 2, 3, 1, true},
    {"resnet50_2_1x1_64", 32, 56, 64, 64, 1, 1, 0, 1},
    {"resnet50_2_3x3_64", 8, 56, 64, 64, 3, 1, 1, 1},
    {"resnet50_2_1x1_64_256", 16, 56, 64, 256, 1, 1, 0, 1},
    {"resnet50_2_1x1_256_64", 16, 56, 256, 64, 1, 1, 0, 1},
    {"resnet50_3_3x3s2_128", 8, 56, 128, 128, 3, 2, 1, 1},
    {"resnet50_3_3x3_128", 8, 28, 128, 128, 3, 1, 1, 1},
    {"resnet50_3_1x1_128_512", 16, 28, 128, 512, 1, 1, 0, 1},
    {"resnet50_3_1x1_512_128", 16, 28, 512, 128, 1, 1, 0, 1},
    {"resnet50_3_1x1s2_256_512", 8, 56, 256, 512, 1, 2, 0, 1},
    {"resnet50_4_3x3_256", 8, 14, 256, 256, 3, 1, 1, 1},
    {"resnet50_4_1x1_256_1024", 16, 14, 256, 1024, 1, 1, 0, 1},
    {"resnet50_4_1x1_1024_256", 16, 14, 1024, 256, 1, 1, 0, 1},
    {"resnet50_5_3x3_512", 8, 7, 512, 512, 3, 1, 1, 1},
    {"resnet50_5_1x1_512_2048", 16, 7, 512, 2048, 1, 1, 0, 1},
    {"mobilenet_1_3x3s2", 32, 224, 3, 32, 3, 2, 1, 1, true},
    {"mobilenet_2_dw_32", 32, 112, 32, 32, 3, 1, 1, 32},
    {"mobilenet_2_pw_32_64", 16, 112, 32, 64, 1, 1, 0, 1},
    {"mobilenet_3_dws2_64", 32, 112, 64, 64, 3, 2, 1, 64},
    {"mobilenet_3_dw_128", 32, 56, 128, 128, 3, 1, 1, 128},
    {"mobilenet_5_dw_512", 64, 14, 512, 512, 3, 1, 1, 512},
    {"mobilenet_5_pw_512", 16, 14, 512, 512, 1, 1, 0, 1},
};

inline constexpr MatMulShape network_matmuls[] = {
    {"resnet50_fc", 256, 1000, 2048},
    {"mobilenet_fc", 256, 1000, 1024},
};

}  // namespace tenon::bench
