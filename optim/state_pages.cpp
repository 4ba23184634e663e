#include "optim/state_pages.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <numeric>
#include <utility>

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"

namespace tessera::optim {

namespace {

constexpr size_t kStagingFrames = 2;

struct Split {
  size_t frames;  // kept in memory, staging included
  size_t slots;   // on the other side
  PageMemory memory;
};

Split split(std::span<const size_t> sizes, const PageOptions& options) {
  const size_t total = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
  const size_t count = sizes.size();
  const size_t kept = options.budget ? *options.budget / options.page_bytes : count;
  if (!options.budget || total <= *options.budget) return {count, 0, {.resident = total}};
  // Where so few pages are too many that the staging frames hold them, nothing moves.
  if (kept + kStagingFrames >= count) {
    const size_t resident = std::min(total, kept * options.page_bytes);
    return {count, 0, {.resident = resident, .staging = total - resident}};
  }
  const size_t slots = count - kept - 1;
  const size_t elsewhere = slots * options.page_bytes;
  const bool in_file = !options.directory.empty();
  return {kept + kStagingFrames,
          slots,
          {.resident = kept * options.page_bytes,
           .staging = kStagingFrames * options.page_bytes,
           .host = !in_file                   ? elsewhere
                   : options.device.is_cuda() ? options.page_bytes
                                              : 0,
           .file = in_file ? elsewhere : 0}};
}

}  // namespace

PageMemory StatePages::memory(std::span<const size_t> sizes, const PageOptions& options) {
  return split(sizes, options).memory;
}

StatePages::StatePages(std::vector<size_t> sizes, const PageOptions& options)
    : device_(options.device),
      sizes_(std::move(sizes)),
      slot_bytes_(options.page_bytes),
      frame_of_(sizes_.size(), kNone),
      slot_of_(sizes_.size(), kNone),
      transfers_(Stream::of_operators(options.device)) {
  const auto [frames, slots, memory] = split(sizes_, options);
  const bool moving = slots > 0;
  size_t bytes = 0;
  for (size_t i = 0; i < frames; ++i) {
    frame_begin_.push_back(bytes);
    TESSERA_CHECK(!moving || sizes_[i] <= slot_bytes_);
    bytes += moving ? slot_bytes_ : sizes_[i];
  }
  frames_ = Buffer::on(device_, bytes);
  ready_.resize(frames);
  resident_bytes_ = memory.resident;
  resident_pages_ = moving ? frames - 1 : frames;
  for (size_t page = 0; page < resident_pages_; ++page) frame_of_[page] = page;
  if (!moving) return;
  free_frame_ = frames - 1;
  for (size_t slot = 0; slot < slots; ++slot) slot_of_[resident_pages_ + slot] = slot;
  host_ = Buffer::staging_for(device_, memory.host);
  if (memory.file == 0) return;
  file_ = std::make_unique<PageFile>(options.directory, memory.file);
  if constexpr (kHasCuda) {
    if (!device_.is_cuda()) return;
    file_copies_ = std::make_unique<Stream>(Device::cpu());
    file_copies_->enqueue([device = device_] { tessera::cuda::use(device); });
  }
}

StatePages::~StatePages() {
  try {
    last_copy_.wait();
    last_visit_.wait();
  } catch (const std::exception&) {
    // A copy that failed has been, or would have been, reported by the sweep that needed it.
  }
}

PageMemory StatePages::memory() const {
  return {.resident = resident_bytes_,
          .staging = frames_.size() - resident_bytes_,
          .host = host_.size(),
          .file = file_ ? size_t(file_->size()) : 0};
}

void StatePages::sweep(Context& ctx, FunctionRef<void(size_t page, std::byte* data)> visit) {
  TESSERA_CHECK(ctx.device() == device_);
  const auto in_order = [&](size_t i) { return upward_ ? i : count() - 1 - i; };
  // What another context's stream has not finished would not be in order with this one's copies.
  if (!last_copy_.reached()) copies(ctx).wait(last_copy_);
  ctx.compute_stream().wait(last_visit_);
  size_t missing = resident_pages_;
  for (size_t i = 0; i < count(); ++i) {
    if (missing < count()) fetch(ctx, in_order(missing++));
    const size_t page = in_order(i);
    await(ctx, page);
    visit(page, frame(frame_of_[page]));
    if (free_slot_ != kNone) evict(ctx, page);
  }
  last_visit_ = ctx.compute_stream().record();
  upward_ = !upward_;
}

void StatePages::fetch(Context& ctx, size_t page) {
  const size_t to = std::exchange(free_frame_, kNone);
  free_slot_ = std::exchange(slot_of_[page], kNone);
  frame_of_[page] = to;
  const std::span<std::byte> into(frame(to), sizes_[page]);
  if (file_) {
    copies(ctx).enqueue([this, from = free_slot_, into] { from_file(from, into); });
  } else {
    copies(ctx).copy(into.data(), host_.data() + free_slot_ * slot_bytes_, into.size());
  }
  ready_[to] = last_copy_ = copies(ctx).record();
  ++counters_.pages_in;
  counters_.bytes_in += into.size();
}

void StatePages::evict(Context& ctx, size_t page) {
  free_frame_ = std::exchange(frame_of_[page], kNone);
  const size_t to = slot_of_[page] = std::exchange(free_slot_, kNone);
  const std::span<const std::byte> bytes(frame(free_frame_), sizes_[page]);
  copies(ctx).wait(ctx.compute_stream().record());
  if (file_) {
    copies(ctx).enqueue([this, to, bytes] { to_file(to, bytes); });
  } else {
    copies(ctx).copy(host_.data() + to * slot_bytes_, bytes.data(), bytes.size());
  }
  last_copy_ = copies(ctx).record();
  ++counters_.pages_out;
  counters_.bytes_out += bytes.size();
}

/// The compute stream waits, and where that is the calling thread, or a file is read, so does this.
void StatePages::await(Context& ctx, size_t page) {
  const Event ready = std::exchange(ready_[frame_of_[page]], Event());
  if (ready.reached()) return ctx.compute_stream().wait(ready);  // a copy that failed throws here
  const auto start = std::chrono::steady_clock::now();
  ctx.compute_stream().wait(ready);  // or here
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  counters_.seconds_waited += waited.count();
}

void StatePages::from_file(size_t slot, std::span<std::byte> frame) {
  if (!device_.is_cuda()) return file_->read(slot * slot_bytes_, frame);
  file_->read(slot * slot_bytes_, {host_.data(), frame.size()});
  transfer(frame.data(), host_.data(), frame.size());
}

void StatePages::to_file(size_t slot, std::span<const std::byte> frame) {
  if (!device_.is_cuda()) return file_->write(slot * slot_bytes_, frame);
  transfer(host_.data(), frame.data(), frame.size());
  file_->write(slot * slot_bytes_, {host_.data(), frame.size()});
}

void StatePages::transfer(void* to, const void* from, size_t bytes) const {
  transfers_.copy(to, from, bytes);
  transfers_.synchronize();
}

void StatePages::load(size_t slot, size_t offset, std::span<std::byte> into) const {
  const size_t at = slot * slot_bytes_ + offset;
  if (file_) return file_->read(at, into);
  std::memcpy(into.data(), host_.data() + at, into.size());
}

void StatePages::store(size_t slot, size_t offset, std::span<const std::byte> bytes) {
  const size_t at = slot * slot_bytes_ + offset;
  if (file_) return file_->write(at, bytes);
  std::memcpy(host_.data() + at, bytes.data(), bytes.size());
}

void StatePages::read(size_t page, size_t offset, std::span<std::byte> into) const {
  TESSERA_CHECK(offset <= sizes_[page] && into.size() <= sizes_[page] - offset);
  last_copy_.wait();
  last_visit_.wait();
  if (frame_of_[page] == kNone) return load(slot_of_[page], offset, into);
  transfer(into.data(), frame(frame_of_[page]) + offset, into.size());
}

void StatePages::write(size_t page, size_t offset, std::span<const std::byte> bytes) {
  TESSERA_CHECK(offset <= sizes_[page] && bytes.size() <= sizes_[page] - offset);
  last_copy_.wait();
  last_visit_.wait();
  if (frame_of_[page] == kNone) return store(slot_of_[page], offset, bytes);
  transfer(frame(frame_of_[page]) + offset, bytes.data(), bytes.size());
}

}  // namespace tessera::optim
