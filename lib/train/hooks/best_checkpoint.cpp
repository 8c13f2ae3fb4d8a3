// Saves the weights of the best epoch so far.
#include "tenon/hooks.hpp"

namespace tenon {

BestCheckpoint::BestCheckpoint(std::string path, std::string monitor, Better better)
    : path_(std::move(path)), monitor_(std::move(monitor), 0, better) {}

void BestCheckpoint::on_epoch(const EpochRecord& e, TrainControl& control) {
  if (monitor_.improved(e)) control.save(path_);
}

}  // namespace tenon
