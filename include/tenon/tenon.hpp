// Everything a program needs: compose tensors, compile, train, load data, save, check gradients.
#pragma once
#include "tenon/array.hpp"
#include "tenon/data.hpp"
#include "tenon/error.hpp"
#include "tenon/gradcheck.hpp"

#include "tenon/io.hpp"
#include "tenon/log.hpp"
#include "tenon/losses.hpp"
#include "tenon/nn.hpp"
#include "tenon/ops.hpp"
#include "tenon/optim.hpp"
#include "tenon/program.hpp"
#include "tenon/train.hpp"
