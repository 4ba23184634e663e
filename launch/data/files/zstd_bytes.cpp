#include <zstd.h>
#include <zstd_errors.h>

#include <memory>
#include <vector>

#include "launch/data/files/byte_stream.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

constexpr int kMostWindowLog = 27;  // 128 MiB, which `zstd -d` takes without being told to

class ZstdBytes final : public ByteStream {
 public:
  ZstdBytes(std::unique_ptr<ByteStream> packed, const std::string& path)
      : packed_(std::move(packed)),
        path_(path),
        state_(ZSTD_createDStream(), ZSTD_freeDStream),
        input_(ZSTD_DStreamInSize()) {
    if (!state_) fail("{}: cannot unpack zstd: no memory", path_);
    ZSTD_DCtx_setParameter(state_.get(), ZSTD_d_windowLogMax, kMostWindowLog);
  }

  size_t read(std::span<char> out) override {
    ZSTD_outBuffer to = {out.data(), out.size(), 0};
    while (to.pos < to.size && !ended_) unpack(to);
    return to.pos;
  }

 private:
  void unpack(ZSTD_outBuffer& to) {
    if (from_.pos == from_.size && !holds_back_) {
      from_ = {input_.data(), packed_->read(input_), 0};
      if (from_.size == 0) {
        if (wanted_ != 0) {
          fail("{}: the zstd file is cut off: {} bytes were unpacked", path_, unpacked_);
        }
        ended_ = true;
        return;
      }
    }
    const size_t before = to.pos;
    wanted_ = ZSTD_decompressStream(state_.get(), &to, &from_);
    unpacked_ += to.pos - before;
    if (ZSTD_getErrorCode(wanted_) == ZSTD_error_frameParameter_windowTooLarge) {
      fail("{}: the zstd file wants a window of more than 128 MiB; unpack it with unzstd --long=31",
           path_);
    }
    if (ZSTD_isError(wanted_)) {
      fail("{}: the zstd file is damaged behind {} unpacked bytes: {}", path_, unpacked_,
           ZSTD_getErrorName(wanted_));
    }
    // Where the output is full, the decoder may hold more of it.
    holds_back_ = to.pos == to.size && wanted_ != 0;
  }

  const std::unique_ptr<ByteStream> packed_;
  const std::string path_;
  const std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> state_;
  std::vector<char> input_;
  ZSTD_inBuffer from_ = {};
  size_t wanted_ = 0;  // 0 between frames
  bool holds_back_ = false;
  uint64_t unpacked_ = 0;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> zstd_bytes(std::unique_ptr<ByteStream> packed,
                                       const std::string& path) {
  return std::make_unique<ZstdBytes>(std::move(packed), path);
}

}  // namespace tessera::launch
