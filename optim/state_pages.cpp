#include "optim/state_pages.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <numeric>
#include <utility>

#include "runtime/core/error.h"

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
           .host = in_file ? 0 : elsewhere,
           .file = in_file ? elsewhere : 0}};
}

}  // namespace

PageMemory StatePages::memory(std::span<const size_t> sizes, const PageOptions& options) {
  return split(sizes, options).memory;
}

StatePages::StatePages(std::vector<size_t> sizes, const PageOptions& options)
    : sizes_(std::move(sizes)),
      slot_bytes_(options.page_bytes),
      frame_of_(sizes_.size(), kNone),
      slot_of_(sizes_.size(), kNone) {
  const auto [frames, slots, memory] = split(sizes_, options);
  const bool moving = slots > 0;
  size_t bytes = 0;
  for (size_t i = 0; i < frames; ++i) {
    frame_begin_.push_back(bytes);
    TESSERA_CHECK(!moving || sizes_[i] <= slot_bytes_);
    bytes += moving ? slot_bytes_ : sizes_[i];
  }
  frames_ = Buffer::host(bytes);
  ready_.resize(frames);
  resident_bytes_ = memory.resident;
  resident_pages_ = moving ? frames - 1 : frames;
  for (size_t page = 0; page < resident_pages_; ++page) frame_of_[page] = page;
  if (!moving) return;
  free_frame_ = frames - 1;
  for (size_t slot = 0; slot < slots; ++slot) slot_of_[resident_pages_ + slot] = slot;
  host_ = Buffer::host(memory.host);
  if (memory.file > 0) file_ = std::make_unique<PageFile>(options.directory, memory.file);
}

StatePages::~StatePages() {
  try {
    last_copy_.wait();
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
  const auto in_order = [&](size_t i) { return upward_ ? i : count() - 1 - i; };
  // What another context's stream has not finished would not be in order with this one's copies.
  if (!last_copy_.reached()) ctx.copy_stream().wait(last_copy_);
  size_t missing = resident_pages_;
  for (size_t i = 0; i < count(); ++i) {
    if (missing < count()) fetch(ctx, in_order(missing++));
    const size_t page = in_order(i);
    await(page);
    visit(page, frame(frame_of_[page]));
    if (free_slot_ != kNone) evict(ctx, page);
  }
  upward_ = !upward_;
}

Event StatePages::copy(Context& ctx, std::function<void()> work) {
  ctx.copy_stream().enqueue(std::move(work));
  return last_copy_ = ctx.copy_stream().record();
}

void StatePages::fetch(Context& ctx, size_t page) {
  const size_t to = std::exchange(free_frame_, kNone);
  free_slot_ = std::exchange(slot_of_[page], kNone);
  frame_of_[page] = to;
  const std::span<std::byte> into(frame(to), sizes_[page]);
  ready_[to] = copy(ctx, [this, from = free_slot_, into] { load(from, 0, into); });
  ++counters_.pages_in;
  counters_.bytes_in += into.size();
}

void StatePages::evict(Context& ctx, size_t page) {
  free_frame_ = std::exchange(frame_of_[page], kNone);
  slot_of_[page] = std::exchange(free_slot_, kNone);
  const std::span<const std::byte> bytes(frame(free_frame_), sizes_[page]);
  copy(ctx, [this, to = slot_of_[page], bytes] { store(to, 0, bytes); });
  ++counters_.pages_out;
  counters_.bytes_out += bytes.size();
}

void StatePages::await(size_t page) {
  Event& ready = ready_[frame_of_[page]];
  if (!ready.reached()) {
    const auto start = std::chrono::steady_clock::now();
    ready.wait();  // a copy that failed throws here
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
    counters_.seconds_waited += waited.count();
  }
  ready.wait();  // or here
  ready = Event();
}

void StatePages::load(size_t slot, size_t offset, std::span<std::byte> into) const {
  const size_t at = slot * slot_bytes_ + offset;
  if (file_) return file_->read(at, into);
  std::memcpy(into.data(), host_.data() + at, into.size());
}

void StatePages::store(size_t slot, size_t offset, std::span<const std::byte> bytes) const {
  const size_t at = slot * slot_bytes_ + offset;
  if (file_) return file_->write(at, bytes);
  std::memcpy(host_.data() + at, bytes.data(), bytes.size());
}

std::byte* StatePages::resident(size_t page) const {
  TESSERA_CHECK(frame_of_[page] != kNone);
  return frame(frame_of_[page]);
}

void StatePages::read(size_t page, size_t offset, std::span<std::byte> into) const {
  TESSERA_CHECK(offset <= sizes_[page] && into.size() <= sizes_[page] - offset);
  last_copy_.wait();
  if (frame_of_[page] == kNone) return load(slot_of_[page], offset, into);
  std::memcpy(into.data(), resident(page) + offset, into.size());
}

void StatePages::write(size_t page, size_t offset, std::span<const std::byte> bytes) {
  TESSERA_CHECK(offset <= sizes_[page] && bytes.size() <= sizes_[page] - offset);
  last_copy_.wait();
  if (frame_of_[page] == kNone) return store(slot_of_[page], offset, bytes);
  std::memcpy(resident(page) + offset, bytes.data(), bytes.size());
}

}  // namespace tessera::optim
