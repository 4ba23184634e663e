#include "launch/run/run_machine.h"

#include "launch/plan/optimizer_state.h"
#include "lora/adapter/peft.h"
#include "lora/decoder/training_pass.h"

namespace tessera::launch {

RunMachine::RunMachine(Context& context, LoadedModel& base, const RunInputs& inputs,
                       const RunPlan& plan, parallel::Communicator& world)
    : ctx(context),
      model(base),
      adapters(model.spec(), adapter_options(plan.config), ctx.device()),
      decoder(ctx, model.base(), model.scheduler(), &adapters),
      segments(state_segments(adapters, plan.config.optimizer.bits, plan.config.loraplus_lr_ratio)),
      optimizer(
          *plan.config.optimizer.rule, segments,
          owned_state(adapters.size(), plan.config.optimizer_sharding, world.rank(), world.size()),
          optimizer_options(plan.config), page_options(plan.config, ctx.device())),
      loss(make_loss(plan.config)),
      step({ctx, world, decoder, loss, adapters, optimizer}, plan.config) {
  const Config& config = plan.config;
  adapters.init(uint64_t(config.seed));
  adapters.copy_whole(inputs.checkpoint);
  if (const auto& start = inputs.start) {
    copy_adapter(lora::load_peft(*start, model.spec()), adapters, start->path);
  }
}

void RunMachine::allocate(const RunPlan& plan) {
  model.scheduler().set_groups(plan.chosen.groups);
  const lora::Decoder::Memory needed = lora::TrainingPass(decoder, loss).plan(plan.input.tokens);
  const RankMemory& planned = plan.chosen.memory;
  TESSERA_CHECK(needed.activations == planned.activations && needed.scratch == planned.workspace &&
                needed.tables == planned.tables && needed.offloaded == planned.offloaded);
  decoder.allocate();
}

}  // namespace tessera::launch
