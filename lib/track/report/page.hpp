// What every page begins and ends with, and text that several of them have.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "tenon/track.hpp"

namespace tenon::track::html {

/// Up to the opening of <main>. The page may load nothing but the images that it holds; with `refresh` it is loaded anew
/// every so many seconds.
[[nodiscard]] std::string opening(std::string_view title, int refresh = 0);
[[nodiscard]] std::string closing();
/// 2026-11-27 20:15:03 UTC
[[nodiscard]] std::string moment(std::int64_t milliseconds);
/// 5.2 s, 3 min 20 s, 2 h 5 min
[[nodiscard]] std::string duration(std::int64_t milliseconds);
/// 912 B, 4.6 MiB
[[nodiscard]] std::string size(std::uint64_t bytes);
/// <span class="status running">running</span>
[[nodiscard]] std::string status(Status);

/// Whether a metric of steps is left to its chart, because there is one of epochs with the same name.
[[nodiscard]] bool epochs_tell(const RunView&, const Metric&);
/// Without "epoch/", unless that is needed to tell it from another one.
[[nodiscard]] std::string short_name(const RunView&, const Metric&);

}  // namespace tenon::track::html
