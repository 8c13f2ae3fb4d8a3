// Typed exceptions: one line, `[where] what was expected, what was found`, and the exit code of a program that stops on it.
#pragma once
#include <stdexcept>
#include <string>

namespace tenon {

/// Exit codes of every Tenon program; an `Error` carries the one that fits.
enum class ExitCode : int {
  ok = 0,
  usage = 2,
  bad_data = 3,
  bad_checkpoint = 4,
  io = 5,
  numeric = 6,
  memory = 7,
  device = 8,
  interrupted = 130,
  terminated = 143,
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// A shape, attribute or option that the library cannot accept.
struct UsageError : Error {
  explicit UsageError(const std::string& m) : Error(ExitCode::usage, m) {}
};
/// A data set, or a value in it, that is not what it should be (a label out of range, say).
struct DataError : Error {
  explicit DataError(const std::string& m) : Error(ExitCode::bad_data, m) {}
};
/// A weight file that does not verify or does not fit the model.
struct CheckpointError : Error {
  explicit CheckpointError(const std::string& m) : Error(ExitCode::bad_checkpoint, m) {}
};
/// The operating system refused a read, a write or a connection.
struct IoError : Error {
  explicit IoError(const std::string& m) : Error(ExitCode::io, m) {}
};
/// A loss or gradient that is not finite, or a check of numbers that failed.
struct NumericError : Error {
  explicit NumericError(const std::string& m) : Error(ExitCode::numeric, m) {}
};
/// A device that is not there or cannot run what was asked.
struct DeviceError : Error {
  explicit DeviceError(const std::string& m) : Error(ExitCode::device, m) {}
};

}  // namespace tenon
