// The messages of a row with our own keys and roles, by the settings of their data set.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launch/config/config.h"
#include "launch/data/row_keys.h"

namespace tessera::launch {

/// Applies message_property_mappings, roles and drop_system_message to "messages" or
/// "conversations". Error beginning with `where` where these are no messages, or one lacks the key
/// that holds its role.
void map_messages(RowJson& row, const DatasetConfig& dataset, std::string_view where);

/// Gives what stands under `key` another name, by which it is told as unused.
void set_aside(RowJson& object, const std::string& key);
/// Puts `value` under `key`, and sets aside what stands there.
void put_under(RowJson& object, const std::string& key, RowJson value);

/// The names of the keys or columns, for a message.
std::string names_in(const RowJson& object);

/// The roles by our names, where `names` has them by those of the data set.
std::vector<std::string> our_roles(const std::vector<std::string>& names,
                                   const DatasetConfig& dataset);

}  // namespace tessera::launch
