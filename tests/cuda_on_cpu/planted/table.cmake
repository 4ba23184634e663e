# Bugs of the product's kernels, streams and ranks that its tests must find. plant.cmake and
# CMakeLists.txt read this. `IN` is the file that gets the bug, by replacing FIND, which must occur
# once; where that is a header, `BUILDS` is the source that is built with it. `FINDS` are the tests
# that find it, with CUDA threads and blocks, and then streams, in the order of `ORDER`.

# Barriers.
planted_bug(sums_read_before_written IN runtime/cuda/kernel.h BUILDS runtime/cuda/norm.cu
  FIND [[= x;
  __syncthreads();]]
  REPLACE [[= x;]]
  FINDS CudaRmsnorm.AgreesWithTheCpu ORDER descending eager)
planted_bug(loss_parts_read_before_written IN runtime/cuda/cross_entropy.cu
  FIND [[= of_warp;
  __syncthreads();]]
  REPLACE [[= of_warp;]]
  FINDS CudaCrossEntropy.AgreesWithTheCpu ORDER ascending eager)
planted_bug(target_gradient_written_too_early IN runtime/cuda/cross_entropy.cu
  FIND [[  __syncthreads();
  if (threadIdx.x == 0) {]]
  REPLACE [[  if (threadIdx.x == 0) {]]
  FINDS CudaCrossEntropy.AgreesWithTheCpu ORDER ascending eager)
planted_bug(differences_read_before_written IN runtime/cuda/cross_entropy.cu
  FIND [[
  __syncthreads();  // also before the row changes]]
  REPLACE [[]]
  FINDS CudaCrossEntropy.SmoothsAsTheCpu ORDER ascending eager)
planted_bug(largest_parts_read_before_written IN runtime/cuda/argmax.cu
  FIND [[= of_warp;
  __syncthreads();]]
  REPLACE [[= of_warp;]]
  FINDS CudaArgmax.FindsTheColumnOfTheCpu ORDER ascending eager)
planted_bug(codebook_read_before_filled IN quant/cuda/blockwise4.cu
  FIND [[
  }
  __syncthreads();
  decoder.values]]
  REPLACE [[
  }
  decoder.values]]
  FINDS DeviceBlockwise4.DecodesAnyPart ORDER descending eager)
planted_bug(map_read_before_filled IN quant/cuda/double_quant.cu
  FIND [[= of_warp;
  __syncthreads();]]
  REPLACE [[= of_warp;]]
  FINDS DeviceBlockwise4.BlobsAndValuesHaveTheBitsOfTheCpu ORDER ascending eager)
planted_bug(moment_tables_read_before_filled IN optim/cuda/adamw.cu
  FIND [[
  __syncthreads();]]
  REPLACE [[]]
  FINDS DeviceAdamW.UpdatesOf8BitsHaveTheBitsOfTheCpu ORDER ascending eager)
planted_bug(stage_of_keys_overwritten_in_use IN runtime/cuda/attention.cu
  FIND [[cp_async_wait<0>();
    __syncthreads();]]
  REPLACE [[cp_async_wait<0>();]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/* ORDER random:1 eager)
planted_bug(stage_of_gradients_overwritten_in_use IN runtime/cuda/attention_backward.cu
  FIND [[cp_async_wait<0>();
    __syncthreads();]]
  REPLACE [[cp_async_wait<0>();]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/* ORDER random:1 eager)
planted_bug(plain_keys_overwritten_in_use IN runtime/cuda/attention.cu
  FIND [[key += kPlainKeys) {
    __syncthreads();]]
  REPLACE [[key += kPlainKeys) {]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/0 ORDER random:1 eager)
planted_bug(plain_weights_read_before_written IN runtime/cuda/attention.cu
  FIND [[= weight;
      __syncwarp();]]
  REPLACE [[= weight;]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/0 ORDER random:1 eager)
planted_bug(output_read_before_written IN runtime/cuda/attention_tile.h
  BUILDS runtime/cuda/attention.cu
  FIND [[
  __syncwarp();
#pragma unroll
  for (int i = lane;]]
  REPLACE [[
#pragma unroll
  for (int i = lane;]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/1 ORDER random:1 eager)

# Shared memory.
planted_bug(tile_used_before_copied IN runtime/cuda/attention.cu
  FIND [[
    cp_async_wait<0>();]]
  REPLACE [[]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/1 ORDER ascending eager)
planted_bug(newest_tile_not_waited_for IN runtime/cuda/attention_backward.cu
  FIND [[
    cp_async_wait<0>();]]
  REPLACE [[
    cp_async_wait<1>();]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/1 ORDER ascending eager)
planted_bug(statistics_never_written IN runtime/cuda/attention_backward.cu
  FIND [[
  if (brings) statistics_of(0, int(threadIdx.x)) = load_streaming(0);]]
  REPLACE [[]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/1 ORDER ascending eager)
planted_bug(half_of_a_table_never_written IN quant/cuda/double_quant.cu
  FIND [[middle[t] = t < 255 ?]]
  REPLACE [[if (t < 128) middle[t] = t < 255 ?]]
  FINDS DeviceBlockwise4.BlobsAndValuesHaveTheBitsOfTheCpu ORDER ascending eager)
planted_bug(too_little_shared_memory IN runtime/cuda/attention.cu
  FIND [[(kQueries<kDim> + 4 * kKeys) * kTilePitch<kDim>]]
  REPLACE [[(kQueries<kDim> + 3 * kKeys) * kTilePitch<kDim>]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/1 ORDER ascending eager)

# Tails, guards and alignment.
planted_bug(flat_array_without_its_end IN runtime/cuda/runs.h BUILDS runtime/cuda/activation.cu
  FIND [[if (element < shape.elements) f(]]
  REPLACE [[f(]]
  FINDS CudaGlu.AgreesWithTheCpu ORDER ascending eager)
planted_bug(more_threads_than_parameters IN optim/cuda/adamw.cu
  FIND [[
    if (thread >= count) return;]]
  REPLACE [[]]
  FINDS DeviceAdamW.UpdatesOf32BitsHaveTheBitsOfTheCpu ORDER ascending eager)
planted_bug(more_warps_than_rows IN runtime/cuda/norm.cu
  FIND [[
  if (row >= rows) return;  // with its whole warp, and a block never]]
  REPLACE [[]]
  FINDS CudaRmsnorm.AgreesWithTheCpu ORDER ascending eager)
planted_bug(columns_of_the_next_head IN runtime/cuda/attention_tile.h
  BUILDS runtime/cuda/attention.cu
  FIND [[valid = column < head_dim ? valid - first : 0;]]
  REPLACE [[valid -= first;]]
  FINDS All/CudaAttention.AgreesWithTheCpu/* ORDER ascending eager)
planted_bug(rows_of_the_next_sample IN runtime/cuda/attention_tile.h
  BUILDS runtime/cuda/attention.cu
  FIND [[if (row < valid && column < head_dim) {]]
  REPLACE [[if (column < head_dim) {]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/1 ORDER descending eager)
planted_bug(packs_of_rows_that_do_not_fit IN runtime/cuda/kernel.h BUILDS runtime/cuda/rows.cu
  FIND [[return columns % Pack<T>::kSize == 0 && ]]
  REPLACE [[return ]]
  FINDS CudaRows.GathersTheBitsOfTheCpu ORDER ascending eager)
planted_bug(rows_of_the_next_id IN runtime/cuda/embedding.cu
  FIND [[i < count && ids[i] == id; ++i) {]]
  REPLACE [[i < count; ++i) {]]
  FINDS CudaEmbedding.GradientHasTheBitsOfTheCpu ORDER ascending eager)
planted_bug(packs_at_odd_addresses IN runtime/cuda/kernel.h BUILDS runtime/cuda/norm.cu
  FIND [[reinterpret_cast<uintptr_t>(p) % 16 == 0; };]]
  REPLACE [[p != nullptr; };]]
  FINDS CudaRmsnorm.WorksOnRowsThatStartBesideARun ORDER ascending eager)
planted_bug(codes_from_the_middle_of_a_word IN quant/cuda/blockwise4.cu
  FIND [[packed = first % kSize == 0 && ]]
  REPLACE [[packed = ]]
  FINDS DeviceBlockwise4.DecodesAnyPart ORDER ascending eager)
planted_bug(packs_of_a_whole_that_do_not_fit IN runtime/cuda/columns.cu
  FIND [[shape.in_packs && whole.cols() % Pack<T>::kSize == 0;]]
  REPLACE [[shape.in_packs;]]
  FINDS CudaColumns.SplitsIntoTheBitsOfTheCpu ORDER ascending eager)
planted_bug(packs_of_heads_that_do_not_fit IN runtime/cuda/rope.cu
  FIND [[half % kPairs == 0 &&]]
  REPLACE [[]]
  FINDS Types/CudaRope.GivesTheBitsOfTheCpu/* ORDER ascending eager)

# Masks of attention.
planted_bug(future_keys_are_seen IN runtime/cuda/attention.cu
  FIND [[if (!args.sees(last, 8 * n + e))]]
  REPLACE [[if (8 * n + e <= last - args.window)]]
  FINDS All/CudaAttention.AgreesWithTheCpu/* ORDER ascending eager)
planted_bug(keys_before_the_window_are_seen IN runtime/cuda/attention.cu
  FIND [[if (!args.sees(last, 8 * n + e))]]
  REPLACE [[if (8 * n + e > last)]]
  FINDS All/CudaAttention.AgreesWithTheCpu/* ORDER ascending eager)
planted_bug(keys_of_the_sample_before_are_seen IN runtime/cuda/attention.cu
  FIND [[keys_end - key);
    v_rows.fill(operands.v + at,]]
  REPLACE [[keys_end - key);
    v_rows.fill(operands.v + at - kv_at,]]
  FINDS All/CudaAttentionOfType.SampleDoesNotFeelItsNeighbours/0 ORDER ascending eager)
planted_bug(future_keys_have_gradients IN runtime/cuda/attention_backward.cu
  FIND [[
          if (!all && !args.sees(apart, 0)) pair = {0.0f, 0.0f};]]
  REPLACE [[]]
  FINDS All/CudaAttention.AgreesWithTheCpu/* ORDER ascending eager)

# Bits.
planted_bug(nibbles_swapped IN quant/cuda/blockwise4.cu
  FIND [[(i % 2 == 0 ? 4 : 0); }]]
  REPLACE [[(i % 2 == 0 ? 0 : 4); }]]
  FINDS DeviceBlockwise4.DecodesAnyPart ORDER ascending eager)
planted_bug(philox_counter_of_the_run IN runtime/cuda/dropout.cu
  FIND [[uint64_t(i + first) / 4]]
  REPLACE [[uint64_t(i) / 4]]
  FINDS CudaDropout.GivesTheBitsOfTheCpu ORDER ascending eager)
planted_bug(noise_counter_of_the_run IN runtime/cuda/noise.cu
  FIND [[uint64_t(i + first) / 4]]
  REPLACE [[uint64_t(i) / 4]]
  FINDS CudaNoise.GivesTheBitsOfTheCpu ORDER ascending eager)
planted_bug(sums_in_another_order IN optim/cuda/grad_norm.cu
  FIND [[chain[0] + chain[2] + (chain[1] + chain[3])]]
  REPLACE [[chain[0] + chain[1] + (chain[2] + chain[3])]]
  FINDS DeviceGradNorm.HasTheBitsOfTheCpu ORDER ascending eager)
planted_bug(last_block_wins IN quant/cuda/frozen_matrix.cu
  FIND [[atomicMin(first, Index(i));]]
  REPLACE [[*first = Index(i);]]
  FINDS DeviceBlockwise4.RefusesWhatTheCpuRefuses ORDER ascending eager)
planted_bug(neighbours_turned_as_halves IN runtime/cuda/rope.cu
  FIND [[x + (kNeighbours ? 1 : p.half)]]
  REPLACE [[x + p.half]]
  FINDS Types/CudaRope.GivesTheBitsOfTheCpu/* ORDER ascending eager)

# Arguments that are ignored.
planted_bug(weights_of_tokens_ignored IN runtime/cuda/cross_entropy.cu
  FIND [[p.weights ? p.scale * p.weights[blockIdx.x] : p.scale]]
  REPLACE [[p.scale]]
  FINDS CudaCrossEntropy.WeightsScaleTheGradientsOfTheirRows ORDER ascending eager)
planted_bug(smoothing_added_to_the_gradient IN runtime/cuda/cross_entropy.cu
  FIND [[ * factor - less;]]
  REPLACE [[ * factor + less;]]
  FINDS CudaCrossEntropy.SmoothsAsTheCpu ORDER ascending eager)
planted_bug(infinity_hidden_by_the_bound IN runtime/cuda/softcap.cu
  FIND [[fmaf(tanhf(share), cap, share * 0.0f)]]
  REPLACE [[tanhf(share) * cap]]
  FINDS CudaSoftcap.ExtremesAreTheCpus ORDER ascending eager)
planted_bug(nothing_added_to_weights IN runtime/cuda/norm.cu
  FIND [[weights.v[k] += plus;]]
  REPLACE [[weights.v[k] += 0.0f;]]
  FINDS CudaRmsnorm.AddsToEveryWeight ORDER ascending eager)

# Streams and ranks.
planted_bug(layer_overwritten_in_use IN parallel/layer_scheduler.cpp
  FIND [[
  ctx_.comm_stream().wait(slot->free);]]
  REPLACE [[]]
  FINDS TrainOnGpu.RanksKeepTheBits ORDER ascending random:1)
planted_bug(layer_used_before_gathered IN parallel/layer_scheduler.cpp
  FIND [[
  ctx_.compute_stream().wait(slot->ready);]]
  REPLACE [[]]
  FINDS TrainOnGpu.RanksKeepTheBits ORDER ascending late)
planted_bug(gather_beside_an_exchange IN parallel/layer_scheduler.cpp
  FIND [[
  ctx_.comm_stream().wait(ctx_.compute_stream().record());]]
  REPLACE [[]]
  FINDS LayerSchedulerOnGpus.TheFirstGatherComesAfterTheLastExchange ORDER ascending eager)
planted_bug(inputs_offloaded_before_written IN lora/decoder/offloaded_inputs.cpp
  FIND [[
  ctx.copy_stream().wait(ctx.compute_stream().record());]]
  REPLACE [[]]
  FINDS TrainOnGpu.MemoryOptionsKeepTheBits ORDER ascending late)
planted_bug(inputs_overwritten_before_offloaded IN lora/decoder/offloaded_inputs.cpp
  FIND [[
  ctx.compute_stream().wait(slot.moved);
  slot.holds = index;]]
  REPLACE [[
  slot.holds = index;]]
  FINDS TrainOnGpu.MemoryOptionsKeepTheBits ORDER ascending late)
planted_bug(inputs_used_before_fetched IN lora/decoder/offloaded_inputs.cpp
  FIND [[
  ctx.compute_stream().wait(slot.moved);
  if (index > 0)]]
  REPLACE [[
  if (index > 0)]]
  FINDS TrainOnGpu.MemoryOptionsKeepTheBits ORDER ascending late)
planted_bug(page_used_before_it_is_there IN optim/state_pages.cpp
  FIND [[
  ctx.compute_stream().wait(ready);  // or here]]
  REPLACE [[]]
  FINDS DeviceAdamW.HasTheBitsOfTheCpuWithAnyPaging ORDER ascending random:1)
planted_bug(page_evicted_before_updated IN optim/state_pages.cpp
  FIND [[
  copies(ctx).wait(ctx.compute_stream().record());]]
  REPLACE [[]]
  FINDS DeviceAdamW.HasTheBitsOfTheCpuWithAnyPaging ORDER ascending random:1)
planted_bug(parts_of_ranks_mixed_up IN parallel/nccl_communicator.cpp
  FIND [[to += receive.bytes[r];]]
  REPLACE [[to += send.bytes[r];]]
  FINDS Nccl/Communicators.ExchangesPartsOfAnyLength/* ORDER ascending eager)
planted_bug(part_of_its_own_misplaced IN parallel/nccl_communicator.cpp
  FIND [[receive.data.data() + total(receive.bytes.first(me))]]
  REPLACE [[receive.data.data() + total(send.bytes.first(me))]]
  FINDS Nccl/Communicators.ExchangesPartsOfAnyLength/* ORDER ascending eager)
planted_bug(sum_on_the_wrong_stream IN parallel/nccl_communicator.cpp
  FIND [[ncclFloat32, ncclSum, comm,
                            static_cast<cudaStream_t>(stream_.handle()));]]
  REPLACE [[ncclFloat32, ncclSum, comm,
                            nullptr);]]
  FINDS NcclCommunicator.WaitsForWhatItsStreamWaitsFor ORDER ascending late)
planted_bug(samples_of_the_batch_before IN lora/decoder/training_pass.cpp
  FIND [[
  batch_ = decoder_.place(]]
  REPLACE [[
  if (batch_.samples.tokens() != batch.tokens()) batch_ = decoder_.place(]]
  FINDS TrainOnGpu.EachBatchHasSamplesOfItsOwn ORDER ascending eager)
planted_bug(upload_overwritten_before_read IN runtime/cuda/uploads.cpp
  FIND [[
    pieces_[at_].read.wait();]]
  REPLACE [[]]
  FINDS CudaUploads.KeepTheirOrderAndNeedNothingKept ORDER ascending late)
planted_bug(unpacked_layer_never_forgotten IN lora/decoder/training_pass.cpp
  FIND [[unpacked_ = {};]]
  REPLACE [[]]
  FINDS TrainOnGpu.MemoryOptionsKeepTheBits ORDER ascending eager)
