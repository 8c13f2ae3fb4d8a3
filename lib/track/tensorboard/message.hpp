// What the events of all plugins share.
#pragma once
#include <string>
#include <string_view>

#include "lib/track/tensorboard/event.hpp"
#include "lib/track/tensorboard/wire.hpp"

namespace tenon::track::tensorboard {

/// An event with one value of one tag; `tag` is any bytes.
[[nodiscard]] std::string summary_event(Moment moment, std::string_view tag, const Message* metadata,
                                        const Message& tensor);
/// Says which plugin shows a tag.
[[nodiscard]] Message metadata_of(std::string_view plugin, const Message& content, int data_class);

}  // namespace tenon::track::tensorboard
