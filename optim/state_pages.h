// Pages of state of which a budget's worth stays resident on a device; the others live in host
// memory or in a file and pass through two staging frames when their turn comes. Bytes only.
//
// Every sweep visits all pages, and sweeps go up and down in turn. The page that goes out is the
// one just visited, which is the least recently used, and its frame takes the next page that is
// missing; so what a sweep leaves resident is what the next one needs first, and copies run ahead
// of the visits as far as there are frames. (In one direction, every page would miss in every
// sweep.)
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "optim/page_file.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"
#include "runtime/core/function_ref.h"

namespace tessera::optim {

struct PageOptions {
  /// Where pages are visited. On a GPU, those in host memory are pinned.
  Device device = {};
  /// Bytes that stay resident, rounded down to whole pages; nothing: everything stays.
  std::optional<size_t> budget;
  /// A folder for the file of the pages that do not stay; empty: they live in host memory.
  std::string directory = {};
  size_t page_bytes = size_t{1} << 20;
};

/// In bytes. resident + staging is what the device holds.
struct PageMemory {
  size_t resident = 0;
  size_t staging = 0;
  size_t host = 0;
  size_t file = 0;

  bool operator==(const PageMemory&) const = default;
};

/// Since the beginning.
struct PageCounters {
  uint64_t pages_in = 0;
  uint64_t pages_out = 0;
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  double seconds_waited = 0;  // by the host, for pages that were not there when their turn came
};

class StatePages {
 public:
  /// Pages of these sizes, each at most options.page_bytes unless all are resident; all zero.
  /// Error as PageFile.
  StatePages(std::vector<size_t> sizes, const PageOptions& options);
  /// Waits for the copies that are under way.
  ~StatePages();
  StatePages(const StatePages&) = delete;
  StatePages& operator=(const StatePages&) = delete;

  /// What an object made from the same arguments holds. Allocates nothing.
  static PageMemory memory(std::span<const size_t> sizes, const PageOptions& options);

  /// Calls visit(page, data) for every page, once, in an order of its own; visit may change the
  /// page, by work on ctx.compute_stream() where ctx.device(), which is that of the pages, is a
  /// GPU. Copies run beside, the last ones still after the return: on ctx.copy_stream(), or,
  /// between a GPU and a file, by a thread of their own. Error as PageFile; the state is lost then.
  void sweep(Context& ctx, FunctionRef<void(size_t page, std::byte* data)> visit);

  size_t count() const { return sizes_.size(); }
  /// A part of a page from `offset`, wherever the page lives; waits for copies under way. Does not
  /// make it resident.
  void read(size_t page, size_t offset, std::span<std::byte> into) const;
  void write(size_t page, size_t offset, std::span<const std::byte> bytes);

  const PageCounters& counters() const { return counters_; }
  /// What is really held, for comparison with the static function.
  PageMemory memory() const;

 private:
  static constexpr size_t kNone = SIZE_MAX;

  std::byte* frame(size_t index) { return frames_.data() + frame_begin_[index]; }
  const std::byte* frame(size_t index) const { return frames_.data() + frame_begin_[index]; }
  Stream& copies(Context& ctx) { return file_copies_ ? *file_copies_ : ctx.copy_stream(); }
  void fetch(Context& ctx, size_t page);
  void evict(Context& ctx, size_t page);
  void await(Context& ctx, size_t page);
  void from_file(size_t slot, std::span<std::byte> frame);
  void to_file(size_t slot, std::span<const std::byte> frame);
  void transfer(void* to, const void* from, size_t bytes) const;
  void load(size_t slot, size_t offset, std::span<std::byte> into) const;
  void store(size_t slot, size_t offset, std::span<const std::byte> bytes);

  Device device_;
  std::vector<size_t> sizes_;
  size_t slot_bytes_;
  Buffer frames_;
  std::vector<size_t> frame_begin_;  // in frames_, by frame
  Buffer host_;                      // slots, or room for a page between a GPU and
  std::unique_ptr<PageFile> file_;   // slots
  size_t resident_bytes_;

  // Every page is in a frame or in a slot. Between sweeps one frame is free where pages move, so
  // that one page can come in before another goes out.
  std::vector<size_t> frame_of_;  // by page, or kNone
  std::vector<size_t> slot_of_;   // by page, or kNone
  std::vector<Event> ready_;      // by frame: its page is there
  size_t free_frame_ = kNone;
  size_t free_slot_ = kNone;  // left by the page that came in last
  size_t resident_pages_;
  bool upward_ = true;
  Event last_copy_;
  Event last_visit_;
  PageCounters counters_;
  mutable Stream transfers_;             // of what waits for them
  std::unique_ptr<Stream> file_copies_;  // last: its work uses what is above
};

}  // namespace tessera::optim
