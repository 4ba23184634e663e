#include "optim/rule.h"

#include "optim/adamw.h"

namespace tessera::optim {

namespace {

constexpr Rule kRules[] = {
    {"adamw", kAdamWMoments, kAdamWOptions, check_adamw, update_adamw},
};

}  // namespace

std::span<const Rule> rules() { return kRules; }

const Rule& adamw_rule() { return kRules[0]; }

}  // namespace tessera::optim
