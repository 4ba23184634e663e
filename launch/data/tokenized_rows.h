// Rows that somebody has tokenized already: input_ids, with labels and masks as transformers, TRL
// and their users write them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "launch/data/dataset.h"
#include "launch/data/row_keys.h"

namespace tessera::launch {

/// attention_mask: padding (0) at either end is cut off. position_ids: every restart at 0 begins
/// another sample. Learned are the labels, or without them all ids, where neither completion_mask
/// nor assistant_masks is 0. Error when ids are not below `vocab`, lengths differ, or a mask says
/// something else.
std::vector<Sample> encode_tokenized(const RowJson& row, int64_t vocab, std::string_view where,
                                     RowRemarks& remarks);

}  // namespace tessera::launch
