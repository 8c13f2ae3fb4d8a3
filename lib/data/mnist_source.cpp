// What MNIST is: names, lengths and hashes of the four files, and who serves them.
#include <cstdlib>

#include "lib/data/download.hpp"

namespace tenon {

std::span<const RemoteFile> mnist_files() {
  static const RemoteFile files[] = {
      {"train-images-idx3-ubyte.gz", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47'040'016},
      {"train-labels-idx1-ubyte.gz", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60'008},
      {"t10k-images-idx3-ubyte.gz", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7'840'016},
      {"t10k-labels-idx1-ubyte.gz", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10'008},
  };
  return files;
}

std::vector<std::string> mnist_mirrors() {
  const char* named = std::getenv("TENON_MNIST_MIRRORS");
  if (named == nullptr || *named == '\0')
    return {"https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"};
  std::vector<std::string> mirrors;
  std::string one;
  for (const char* c = named;; ++c) {
    if (*c != '\0' && *c != ' ' && *c != ',') {
      one += *c;
      continue;
    }
    if (!one.empty()) mirrors.push_back(one);
    one.clear();
    if (*c == '\0') return mirrors;
  }
}

}  // namespace tenon
