#include "parallel/layer_scheduler.h"

#include "runtime/core/error.h"

namespace tessera::parallel {

LayerScheduler::LayerScheduler(const ShardedStore& store, std::vector<Policy> policies)
    : store_(store) {
  set_policies(std::move(policies));
}

void LayerScheduler::set_policies(std::vector<Policy> policies) {
  TESSERA_CHECK(int64_t(policies.size()) == store_.layers());
  policies_ = std::move(policies);
}

LayerLease LayerScheduler::acquire(int64_t layer, Direction) {
  return LayerLease(store_.shard(layer));
}

}  // namespace tessera::parallel
