// Where CUDA's libraries are looked for, in folders that the test makes.
#include "launch/machine/cuda_libraries.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "runtime/core/shared_library.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

class CudaLibraries : public ::testing::Test {
 protected:
  std::string make(const std::string& name) {
    std::filesystem::create_directories(folder_.file(name));
    return folder_.file(name);
  }
  LibraryFolders folders() {
    return cuda_library_folders(
        [&](const char* name) {
          const auto at = variables_.find(name);
          return at == variables_.end() ? nullptr : at->second.c_str();
        },
        folder_.path());
  }

  testing::ScratchFolder folder_;
  std::map<std::string, std::string> variables_;
};

TEST_F(CudaLibraries, TheUsersFoldersComeFirst) {
  variables_["TESSERA_CUDA_LIBRARY_PATH"] = make("b") + ":" + make("a") + "::/nowhere";
  EXPECT_EQ(folders().first,
            (std::vector<std::string>{folder_.file("b"), folder_.file("a"), "/nowhere"}));
}

TEST_F(CudaLibraries, ThenToolkitsThenPythonsPackages) {
  const std::string toolkit = make("usr/local/cuda/lib64"), mine = make("toolkit/lib64");
  const std::string cu13 = make("venv/lib/python3.12/site-packages/nvidia/cu13/lib");
  const std::string nccl = make("venv/lib/python3.12/site-packages/nvidia/nccl/lib");
  const std::string conda = make("conda/lib/python3.11/site-packages/nvidia/cublas/lib");
  const std::string debian = make("usr/lib/python3/dist-packages/nvidia/cublas/lib");
  make("venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/include");
  make("venv/bin/python3");
  variables_ = {{"CUDA_HOME", folder_.file("toolkit")},
                {"PATH", "/nowhere:" + folder_.file("venv/bin")},
                {"CONDA_PREFIX", folder_.file("conda")}};
  EXPECT_EQ(folders().first, std::vector<std::string>());
  EXPECT_EQ(folders().last, (std::vector{mine, toolkit, conda, cu13, nccl, debian}));
}

TEST_F(CudaLibraries, AnErrorSaysWhatCannotBeOpened) {
  set_library_folders({{make("a")}, {make("b")}});
  folder_.write("b/libtessera_none.so.1", std::string(100, 'x'));
  testing::expect_error([] { SharedLibrary("libtessera_none.so.1", "tessera_none"); },
                        "libtessera_none.so.1: cannot open", folder_.file("b/libtessera_none.so.1"),
                        "invalid ELF header", "looked in " + folder_.file("a"));
  // The user's folder comes before the loader's own, and what is in it does not give way.
  folder_.write("a/libm.so.6", std::string(100, 'x'));
  testing::expect_error([] { SharedLibrary("libm.so.6", "tessera_none"); }, "invalid ELF header");
  set_library_folders({});
  const SharedLibrary maths("libm.so.6", "tessera_none");
  EXPECT_NE(maths.place(), "the program");
  std::filesystem::copy_file(maths.place(), folder_.file("a/libm.so.6"),
                             std::filesystem::copy_options::overwrite_existing);
  set_library_folders({{folder_.file("a")}, {}});
  EXPECT_EQ(SharedLibrary("libm.so.6", "tessera_none").place(), folder_.file("a/libm.so.6"));
  testing::expect_error(
      [&] {
        double (*none)(double);
        maths.find(none, "tessera_none");
      },
      "libm.so.6 (", "has no tessera_none");
  set_library_folders({});
}

}  // namespace
}  // namespace tessera::launch
