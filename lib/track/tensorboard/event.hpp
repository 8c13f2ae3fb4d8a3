// The events that TensorBoard reads, as bytes of one record each. Field numbers are those of its published messages.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tenon/track.hpp"

namespace tenon::track::tensorboard {

/// When something was; `time` in milliseconds since 1970, UTC.
struct Moment {
  std::int64_t time = 0, step = 0;
};

/// What every file starts with.
[[nodiscard]] std::string version_event(std::int64_t time);
/// Tells a TensorBoard that shows an earlier file of the run to forget what it has from `moment.step` on.
[[nodiscard]] std::string restart_event(Moment moment);
/// `first`: this is the file's first value of the tag, which says what kind of tag it is.
[[nodiscard]] std::string scalar_event(Moment moment, std::string_view tag, double value, bool first);
/// PNG files of one tag and step, shown side by side; none is none. `first` as above.
[[nodiscard]] std::string image_event(Moment moment, std::string_view tag, std::span<const std::string> pngs,
                                      bool first);
/// A text in Markdown. `first` as above.
[[nodiscard]] std::string text_event(Moment moment, std::string_view tag, const std::string& markdown, bool first);
/// The hyper-parameters of a run: numbers and `true`, `false` as such, everything else as text.
[[nodiscard]] std::string session_start_event(const RunView& run);
/// Which hyper-parameters and metrics there are; and how the run ended.
[[nodiscard]] std::string experiment_event(const RunView& run);
[[nodiscard]] std::string session_end_event(const RunView& run);

/// Whether `bytes` start as a PNG file does, up to its sizes.
[[nodiscard]] bool is_png(std::string_view bytes) noexcept;

}  // namespace tenon::track::tensorboard
