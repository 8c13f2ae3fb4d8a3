// A perceptron with two hidden layers learns handwritten digits, as in CNTK's tutorial: plain gradient descent on the
// mean of a minibatch, ten sweeps over the images in minibatches that run on across them: 9,375 updates, about 2 % test
// error.
#include "tenon/io.hpp"
#include "tracking.hpp"

using namespace tenon;
using mnist::say;

namespace {

constexpr std::int64_t test_batch = 512;

nn::Sequential make_mlp() {
  return nn::Sequential{
      nn::Flatten{},  // [n, 784]
      nn::Dense{.units = 400, .activation = relu, .kernel_initializer = glorot_uniform},
      nn::Dense{.units = 400, .activation = relu, .kernel_initializer = glorot_uniform},
      nn::Dense{.units = 10, .kernel_initializer = glorot_uniform},  // logits: the loss has the softmax
  };
}

void run(const mnist::Flags& flags) {
  const mnist::Outputs outputs = mnist::prepare_outputs(flags);
  const MnistData data = mnist::load_data(flags);

  Trainer trainer(make_mlp(), {.loss = softmax_crossentropy,
                               .optimizer = Sgd{.lr = flags.learning_rate},
                               .metrics = {{.output = "", .criterion = error_rate}},
                               .device = flags.device,
                               .precision = flags.precision,
                               .providers = flags.provider,
                               .threads = flags.threads,
                               .seed = flags.seed,
                               .loss_scale = flags.loss_scale,
                               .tune = mnist::tune_options(flags, outputs)});
  say("{}\n", trainer.program(data.train).banner());
  say("Data folder: {}\n", data.source);
  if (!flags.load.empty()) load_weights(trainer.model(), flags.load);

  // Every minibatch passes the hooks: the recorder keeps its loss and error, the log writes them down.
  Recorder recorder;
  JsonlLog metrics(outputs.metrics, /*append=*/flags.epochs == 0);
  CsvLog epochs(outputs.epochs);
  CntkProgress progress(stdout, 500);
  mnist::StopOnSignal signals;
  std::vector<Hook*> hooks{&signals, &recorder, &metrics, &epochs};
  if (!flags.quiet) hooks.push_back(&progress);
  mnist::Tracking tracking(flags, trainer.program(data.train).banner(), data.source);
  tracking.add_hooks(hooks);

  if (flags.epochs > 0) {
    const std::int64_t updates = flags.epochs * data.train.size() / flags.batch_size;
    const History history = trainer.fit(
        data.train, {.batch_size = flags.batch_size, .epochs = flags.epochs, .hooks = hooks, .updates = updates});
    if (history.summary.halted) tracking.fail(history.summary.reason);
    mnist::save_weights(history, trainer.model(), outputs);
    metrics.log("losses", recorder.losses);
    metrics.log("errors", recorder.metric("error_rate"));
    // The tutorial's own two lists, every value of each.
    tracking.log("Loss", recorder.losses);
    tracking.log("Error", recorder.metric("error_rate"));
    if (signals.received()) return tracking.fail(history.summary.reason);
  }

  // The tutorial tests on whole minibatches only, which leaves out the last images; both figures are given.
  const std::int64_t whole = data.test.size() / test_batch * test_batch;
  if (whole > 0)
    say("Average test error: {:.2f}%\n", 100 * trainer.evaluate(data.test.slice(0, whole), test_batch)["error_rate"]);
  const double test_error = trainer.evaluate(data.test, test_batch)["error_rate"];
  say("Test error over all {} images: {:.2f}%\n", data.test.size(), 100 * test_error);
  metrics.log("test_error", test_error);
  tracking.log("test_error", test_error);
  tracking.log_mistakes(trainer.predict(mnist::scaled(data.test)), data.test);
  tracking.finish(outputs);
}

}  // namespace

int main(int argc, char** argv) {
  return mnist::run_program(argc, argv,
                            {.program = "mnist_mlp",
                             .about = "Trains a multilayer perceptron on MNIST's handwritten digits.",
                             .batch_size = 64,
                             .epochs = 10,
                             .learning_rate = 0.2f},
                            run);
}
