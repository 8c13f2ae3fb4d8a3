// Events of scalars, images, texts and the file itself.
#include "lib/track/tensorboard/event.hpp"

#include "lib/track/tensorboard/message.hpp"
#include "lib/track/text.hpp"

namespace tenon::track::tensorboard {
namespace {

constexpr int float_type = 1, string_type = 7;                              // of a tensor
constexpr int scalar_class = 1, tensor_class = 2, blob_sequence_class = 3;  // of a tag's data
constexpr int session_started = 1;

Message event_at(Moment moment) {
  Message event;
  event.float64(1, static_cast<double>(moment.time) / 1000).integer(2, moment.step);
  return event;
}

/// A number of a PNG file, big-endian.
std::uint32_t number_at(std::string_view png, std::size_t at) {
  std::uint32_t value = 0;
  for (const char c : png.substr(at, 4)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

std::string summary_event(Moment moment, std::string_view tag, const Message* metadata, const Message& tensor) {
  Message value;
  value.text(1, to_utf8(tag)).message(8, tensor);
  if (metadata != nullptr) value.message(9, *metadata);
  return event_at(moment).message(5, Message().message(1, value)).bytes();
}

Message metadata_of(std::string_view plugin, const Message& content, int data_class) {
  Message metadata;
  metadata.message(1, Message().text(1, plugin).message(2, content)).integer(4, data_class);
  return metadata;
}

std::string version_event(std::int64_t time) {
  return Message().float64(1, static_cast<double>(time) / 1000).text(3, "brain.Event:2").bytes();
}

std::string restart_event(Moment moment) {
  return event_at(moment).message(7, Message().integer(1, session_started)).bytes();
}

std::string scalar_event(Moment moment, std::string_view tag, double value, bool first) {
  Message tensor;
  tensor.integer(1, float_type).message(2, Message()).packed_float(5, static_cast<float>(value));
  if (!first) return summary_event(moment, tag, nullptr, tensor);
  const Message metadata = metadata_of("scalars", Message(), scalar_class);
  return summary_event(moment, tag, &metadata, tensor);
}

std::string image_event(Moment moment, std::string_view tag, std::span<const std::string> pngs, bool first) {
  Message tensor;
  const auto count = static_cast<std::int64_t>(pngs.size()) + 2;
  tensor.integer(1, string_type).message(2, Message().message(2, Message().integer(1, count)));
  // The sizes come first, as text; those of the first image stand for all.
  for (const std::size_t at : {std::size_t{16}, std::size_t{20}})
    tensor.text(8, pngs.empty() ? "0" : std::to_string(number_at(pngs[0], at)));
  for (const std::string& png : pngs) tensor.text(8, png);
  if (!first) return summary_event(moment, tag, nullptr, tensor);
  const Message metadata = metadata_of("images", Message(), blob_sequence_class);
  return summary_event(moment, tag, &metadata, tensor);
}

std::string text_event(Moment moment, std::string_view tag, const std::string& markdown, bool first) {
  Message tensor;
  tensor.integer(1, string_type).message(2, Message()).text(8, markdown);
  if (!first) return summary_event(moment, tag, nullptr, tensor);
  const Message metadata = metadata_of("text", Message(), tensor_class);
  return summary_event(moment, tag, &metadata, tensor);
}

bool is_png(std::string_view bytes) noexcept {
  return bytes.size() >= 24 && bytes.starts_with("\x89PNG\r\n\x1a\n") && bytes.substr(12, 4) == "IHDR";
}

}  // namespace tenon::track::tensorboard
