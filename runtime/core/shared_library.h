// Libraries that are opened when they are first needed, so that what does not need them runs
// without: cuBLASLt is for products on a GPU, NCCL for several GPUs.
#pragma once

#include <string>
#include <vector>

namespace tessera {

/// Where a library is looked for besides the places that the system's loader knows.
struct LibraryFolders {
  std::vector<std::string> first;  // before the loader is asked
  std::vector<std::string> last;   // after it
  std::string cure = {};           // ends an error: how a user names a folder
};
/// For all that this process opens from now on.
void set_library_folders(LibraryFolders folders);

/// Where a shared object that was built with the program is: in lib/tessera/ beside it, in a
/// build's folder; or a folder above, as for tests and where it is installed.
std::string module_beside_program(const std::string& file);

/// One that is open, until the process ends.
class SharedLibrary {
 public:
  /// `file` is its name for the loader ("libnccl.so.2"). Where the program itself has `function`,
  /// it is the program's. Error with the loader's words, and why it is not, or cannot be used, in
  /// the folders.
  SharedLibrary(const std::string& file, const char* function);

  /// Error where it has no such function.
  template <class Function>
  void find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(address_of(name));
  }
  /// The file that was opened; "the program" where it has the functions itself.
  const std::string& place() const { return place_; }

 private:
  void* address_of(const char* name) const;

  std::string file_;
  void* handle_;
  std::string place_;
};

}  // namespace tessera
