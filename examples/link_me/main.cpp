// A whole user program: learns exclusive or, and ends with status 0 if it got all four cases right.
#include <cstdio>
#include <tenon/tenon.hpp>
#include <vector>

int main() {
  using namespace tenon;
  // The four cases, each 64 times.
  std::vector<float> points;
  std::vector<std::int32_t> classes;
  for (int i = 0; i < 256; ++i) {
    const int a = i & 1, b = (i >> 1) & 1;
    points.insert(points.end(), {static_cast<float>(a), static_cast<float>(b)});
    classes.push_back(a ^ b);
  }
  const Dataset data{Array::of(points, {256, 2}), Array::of(classes, {256})};

  nn::Sequential net{nn::Dense{.units = 16, .activation = relu}, nn::Dense{.units = 2, .activation = softmax}};
  Trainer trainer{net,
                  {.loss = categorical_crossentropy,
                   .optimizer = Adam{.lr = 0.02f},
                   .metrics = {{.criterion = accuracy}},
                   .seed = 1}};
  trainer.fit(data, {.batch_size = 32, .epochs = 60});

  const double right = trainer.evaluate(data)["accuracy"];
  std::printf("exclusive or: %.0f %% right\n", 100 * right);
  return right == 1.0 ? 0 : 1;
}
