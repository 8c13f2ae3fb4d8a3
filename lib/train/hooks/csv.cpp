// Rows of an epoch's figures. The first epoch fixes the columns; a figure that is missing later is NA, as in Keras.
#include <algorithm>

#include "lib/train/hooks/format.hpp"
#include "lib/train/hooks/log_file.hpp"
#include "tenon/hooks.hpp"

namespace tenon {

CsvLog::CsvLog(const std::string& path) : file_(std::make_unique<detail::LogFile>(path, false)) {}
CsvLog::~CsvLog() = default;

void CsvLog::on_epoch(const EpochRecord& e, TrainControl&) {
  const std::vector<NamedValue> figures = detail::figures_of(e);
  std::string text;
  if (columns_.empty()) {
    for (const NamedValue& f : figures) columns_.push_back(f.name);
    std::sort(columns_.begin(), columns_.end());
    text = "epoch";
    for (const std::string& column : columns_) text += "," + detail::csv_cell(column);
    text += "\n";
  }
  text += fmt::format("{}", e.epoch);
  for (const std::string& column : columns_) {
    const auto found =
        std::find_if(figures.begin(), figures.end(), [&](const NamedValue& f) { return f.name == column; });
    text += found == figures.end() ? ",NA" : "," + detail::number(found->value);
  }
  file_->write(text + "\n");
}

}  // namespace tenon
