// Looking into folders and removing from them. Every failure is an Error of one line that names the
// path; std::filesystem's own exceptions do not leave this file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tessera::io {

/// Whether something is there; a link counts as what it leads to. Error where that cannot be told
/// (no permission, links in a circle, a name that is too long).
bool exists(const std::filesystem::path& path);
/// Whether a folder is there; as exists().
bool is_folder(const std::filesystem::path& path);
/// The full path of a file or folder, without ".", ".." and slashes at its end.
std::filesystem::path absolute(const std::filesystem::path& path);
/// The names in a folder, sorted.
std::vector<std::string> names_in(const std::filesystem::path& folder);
/// Makes the folder and those above it, where they are missing.
void make_folders(const std::filesystem::path& path);
/// Removes a file, a link, or a folder with all in it. Does nothing where there is none.
void remove_all(const std::filesystem::path& path);

}  // namespace tessera::io
