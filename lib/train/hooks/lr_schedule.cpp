// A learning rate for every epoch.
#include "tenon/hooks.hpp"

namespace tenon {

void LrSchedule::on_epoch(const EpochRecord& e, TrainControl& control) { control.set_lr(schedule_(e.epoch + 1)); }

}  // namespace tenon
