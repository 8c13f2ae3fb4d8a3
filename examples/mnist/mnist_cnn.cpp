// A convolutional network learns handwritten digits, as in Keras' example: two convolutions, a max-pool, two dense
// layers, dropout between them, trained with Adadelta. Twelve epochs give about 99.1 % on the test images.
#include <unistd.h>

#include "tenon/io.hpp"
#include "tracking.hpp"

using namespace tenon;
using mnist::say;

namespace {

nn::Sequential make_cnn() {
  return nn::Sequential{
      nn::Conv2d{.filters = 32, .kernel = {3, 3}, .activation = relu},  // [n, 26, 26, 32]
      nn::Conv2d{.filters = 64, .kernel = {3, 3}, .activation = relu},  // [n, 24, 24, 64]
      nn::MaxPool2d{.window = {2, 2}},                                  // [n, 12, 12, 64]
      nn::Dropout{.rate = 0.25f},
      nn::Flatten{},  // [n, 9216]
      nn::Dense{.units = 128, .activation = relu},
      nn::Dropout{.rate = 0.5f},
      nn::Dense{.units = 10, .activation = softmax},  // a probability for every digit
  };
}

void run(const mnist::Flags& flags) {
  const mnist::Outputs outputs = mnist::prepare_outputs(flags);
  const MnistData data = mnist::load_data(flags);
  const Dataset train = mnist::one_hot(data.train), test = mnist::one_hot(data.test);

  Trainer trainer(make_cnn(), {.loss = categorical_crossentropy,
                               .optimizer = Adadelta{.lr = flags.learning_rate, .rho = 0.95f, .epsilon = 1e-7f},
                               .metrics = {{.output = "", .criterion = accuracy}},
                               .device = flags.device,
                               .precision = flags.precision,
                               .providers = flags.provider,
                               .threads = flags.threads,
                               .seed = flags.seed,
                               .loss_scale = flags.loss_scale,
                               .tune = mnist::tune_options(flags, outputs)});
  say("{}\n", trainer.program(train).banner());
  say("Data folder: {}\n", data.source);
  for (const Dataset* part : {&train, &test})
    say("{}\n{}\n", mnist::shape_text(part->inputs()[0].second.data),
        mnist::shape_text(part->targets()[0].second.data));
  if (!flags.load.empty()) load_weights(trainer.model(), flags.load);

  // Every minibatch and every epoch passes the hooks.
  JsonlLog metrics(outputs.metrics, /*append=*/flags.epochs == 0);
  CsvLog epochs(outputs.epochs);
  KerasProgress progress(stdout, isatty(STDOUT_FILENO) != 0);
  mnist::StopOnSignal signals;
  std::vector<Hook*> hooks{&signals, &metrics, &epochs};
  if (!flags.quiet) hooks.push_back(&progress);
  mnist::Tracking tracking(flags, trainer.program(train).banner(), data.source);
  tracking.add_hooks(hooks);

  if (flags.epochs > 0) {
    const History history = trainer.fit(
        train, {.batch_size = flags.batch_size, .epochs = flags.epochs, .validation = test, .hooks = hooks});
    if (history.summary.halted) tracking.fail(history.summary.reason);
    mnist::save_weights(history, trainer.model(), outputs);
    if (signals.received()) return tracking.fail(history.summary.reason);
  }

  const double test_accuracy = trainer.evaluate(test)["accuracy"];
  say("Accuracy is {:.4f}\n", test_accuracy);
  metrics.log("accuracy", test_accuracy);
  tracking.log("accuracy", test_accuracy);
  tracking.log_mistakes(trainer.predict(mnist::scaled(data.test)), data.test);
  tracking.finish(outputs);
}

}  // namespace

int main(int argc, char** argv) {
  return mnist::run_program(argc, argv,
                            {.program = "mnist_cnn",
                             .about = "Trains a convolutional network on MNIST's handwritten digits.",
                             .batch_size = 128,
                             .epochs = 12,
                             .learning_rate = 1.f},
                            run);
}
