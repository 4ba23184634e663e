// For tests: a model that computes with a checkpoint's weights as they are, and the losses of its
// decoder.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lora/adapter/peft.h"
#include "lora/decoder/evaluation_pass.h"
#include "lora/model/loader.h"
#include "parallel/self_communicator.h"

namespace tessera::testing {

using Samples = std::vector<std::vector<int32_t>>;

/// A checkpoint's weights as they are, widened to float32, with an adapter if one is named.
struct DenseModel {
  explicit DenseModel(const std::string& folder, const std::string& adapter = "",
                      parallel::Policy policy = parallel::Policy::kKeep)
      : DenseModel(lora::Checkpoint::open(folder), adapter, policy) {}
  explicit DenseModel(lora::Checkpoint opened, const std::string& adapter = "",
                      parallel::Policy policy = parallel::Policy::kKeep)
      : ctx(Device::cpu(), 2, 7),
        checkpoint(std::move(opened)),
        base(ctx, checkpoint.spec(), lora::checkpoint_format(checkpoint),
             lora::Placement{group, {}}) {
    lora::load_base(ctx, checkpoint, base, group, [](int64_t, int64_t) {});
    scheduler = std::make_unique<parallel::LayerScheduler>(ctx, base.store());
    scheduler->set_groups(parallel::uniform_groups(checkpoint.spec().layer_count(), policy, 1));
    if (!adapter.empty()) {
      adapters = lora::load_peft(adapter, checkpoint.spec());
      gradients.assign(adapters->size(), 0.0f);
      adapters->set_gradient_buffer(gradients);
    }
    decoder =
        std::make_unique<lora::Decoder>(ctx, base, *scheduler, adapters ? &*adapters : nullptr);
  }

  Context ctx;
  lora::Checkpoint checkpoint;
  parallel::SelfCommunicator group;
  lora::BaseWeights base;
  std::unique_ptr<parallel::LayerScheduler> scheduler;
  std::optional<lora::AdapterSet> adapters;
  std::vector<float> gradients;
  std::unique_ptr<lora::Decoder> decoder;
};

/// All samples in one batch; every token but a sample's first is a target.
inline lora::Batch batch_of(const Samples& samples) {
  lora::Batch batch;
  batch.starts.push_back(0);
  for (const std::vector<int32_t>& ids : samples) {
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
    batch.targets.insert(batch.targets.end(), ids.begin() + 1, ids.end());
    batch.targets.push_back(lora::Batch::kUnsupervised);
    for (size_t i = 0; i < ids.size(); ++i) batch.positions.push_back(int32_t(i));
    batch.starts.push_back(int32_t(batch.ids.size()));
  }
  return batch;
}

/// The loss of each target of batches that run one after another.
inline std::vector<float> losses_of(DenseModel& model, const std::vector<lora::Batch>& batches) {
  lora::EvaluationPass pass(*model.decoder, lora::default_loss());
  std::vector<float> losses;
  for (const lora::Batch& batch : batches) {
    pass.plan(batch.tokens());
    model.decoder->allocate();
    pass.loss(batch, &losses);
  }
  return losses;
}

inline std::vector<lora::Batch> alone(const Samples& samples) {
  std::vector<lora::Batch> batches;
  for (const std::vector<int32_t>& ids : samples) batches.push_back(batch_of({ids}));
  return batches;
}

}  // namespace tessera::testing
