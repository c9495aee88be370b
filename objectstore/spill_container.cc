#include "objectstore/spill_container.h"

#include <fcntl.h>
#include <hdf5.h>

namespace ray_engine {
namespace {

herr_t KeepFirst(unsigned, const H5E_error2_t* error, void* text) {
  auto* kept = static_cast<std::string*>(text);
  if (kept->empty() && error->desc != nullptr) *kept = error->desc;
  return 0;
}

// What HDF5 says about its last error, innermost first.
std::string Hdf5Error() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, &KeepFirst, &text);
  return text;
}

class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  hid_t get() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

hid_t FileAccess() {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_alignment(access, SpillContainer::kAligned, SpillContainer::kAlignment);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access, false, true);  // shared file systems may not have locks, and nobody else opens the file
#endif
  return access;
}

hid_t Unfilled() {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_layout(creation, H5D_CONTIGUOUS);
  H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
  return creation;
}

}  // namespace

std::string Hdf5Version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

struct SpillContainer::Handles {
  Handle access{FileAccess(), &H5Pclose}, unfilled{Unfilled(), &H5Pclose};
  hid_t file = -1, data = -1, index = -1, row = -1;

  ~Handles() {
    if (row >= 0) H5Tclose(row);
    if (data >= 0) H5Gclose(data);
    if (index >= 0) H5Gclose(index);
    if (file >= 0) H5Fclose(file);
  }

  hid_t MakeRow() const {
    const hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(SpillRow));
    const hsize_t id_size = ObjectId::kSize;
    const Handle id(H5Tarray_create2(H5T_NATIVE_UINT8, 1, &id_size), &H5Tclose);
    H5Tinsert(type, "id", offsetof(SpillRow, id), id.get());
    H5Tinsert(type, "live", offsetof(SpillRow, live), H5T_NATIVE_UINT32);
    H5Tinsert(type, "offset", offsetof(SpillRow, offset), H5T_NATIVE_UINT64);
    H5Tinsert(type, "size", offsetof(SpillRow, size), H5T_NATIVE_UINT64);
    H5Tinsert(type, "checksum", offsetof(SpillRow, checksum), H5T_NATIVE_UINT64);
    return type;
  }

  bool Open(const char* path) {
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access.get());
    if (file < 0) return false;
    data = H5Gcreate2(file, "data", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    index = H5Gcreate2(file, "index", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    row = MakeRow();
    return data >= 0 && index >= 0 && row >= 0;
  }

  absl::StatusOr<std::uint64_t> AddDataset(hid_t group, std::size_t number, hid_t type, std::uint64_t length) const {
    const hsize_t dimension = length;
    const Handle space(H5Screate_simple(1, &dimension, nullptr), &H5Sclose);
    const Handle dataset(
        H5Dcreate2(group, std::to_string(number).c_str(), type, space.get(), H5P_DEFAULT, unfilled.get(), H5P_DEFAULT),
        &H5Dclose);
    const haddr_t offset = dataset.get() < 0 ? HADDR_UNDEF : H5Dget_offset(dataset.get());
    if (offset == HADDR_UNDEF) return absl::FailedPreconditionError(Hdf5Error());
    return offset;
  }
};

SpillContainer::SpillContainer() {
  H5dont_atexit();  // the file goes with the process; to write it out on a full disk would fail, and say so
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  handles_ = std::make_unique<Handles>();
}

SpillContainer::~SpillContainer() = default;

absl::StatusOr<std::unique_ptr<SpillContainer>> SpillContainer::Create(const char* path) {
  std::unique_ptr<SpillContainer> container(new SpillContainer());
  Handles* handles = container->handles_.get();
  void* descriptor = nullptr;
  if (!handles->Open(path) || H5Fget_vfd_handle(handles->file, handles->access.get(), &descriptor) < 0)
    return absl::FailedPreconditionError(Hdf5Error());
  container->fd_ = *static_cast<int*>(descriptor);
  fcntl(container->fd_, F_SETFD, FD_CLOEXEC);
  return container;
}

absl::StatusOr<std::uint64_t> SpillContainer::AddData(std::size_t number, std::uint64_t bytes) {
  return handles_->AddDataset(handles_->data, number, H5T_NATIVE_UINT8, bytes);
}

absl::StatusOr<std::uint64_t> SpillContainer::AddIndex(std::size_t number, std::uint64_t rows) {
  return handles_->AddDataset(handles_->index, number, handles_->row, rows);
}

absl::Status SpillContainer::Flush() {
  if (H5Fflush(handles_->file, H5F_SCOPE_GLOBAL) >= 0) return absl::OkStatus();
  return absl::FailedPreconditionError(Hdf5Error());
}

}  // namespace ray_engine
