#include "train/checkpoint_hdf5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/checkpoint_image.h"
#include "train/model_file.h"

enum { MEMORY_STEP = 1 << 22, DIMS = 4 };
static const char SIGNATURE[] = "\211HDF\r\n\032\n";

static coc_status written(const coc_h5 *h5, bool good, const char *name)
{
    if (good) return COC_OK;
    return COC_FAIL(COC_ERR_MEMORY, "%s: no memory to write '%s'", h5->path, name);
}

static coc_status broken(const coc_h5 *h5, const char *what, const char *name)
{
    return COC_FAIL(COC_ERR_INPUT, "%s: %s '%s' is missing, or not what it must be", h5->path, what,
                    name);
}

/* ---- the file ------------------------------------------------------------------------------- */

coc_status coc_h5_create(const char *path, coc_h5 *h5)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);

    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    *h5 = (coc_h5){.file = -1, .path = path};
    if (H5Pset_fapl_core(access, MEMORY_STEP, 0) >= 0 &&
        H5Pset_userblock(creation, COC_IMAGE_BLOCK) >= 0)
        h5->file = H5Fcreate("checkpoint", H5F_ACC_TRUNC, creation, access);
    H5Pclose(access);
    H5Pclose(creation);
    return written(h5, h5->file >= 0, "the file");
}

coc_status coc_h5_finish(coc_h5 *h5, char **bytes, size_t *count)
{
    size_t front = COC_IMAGE_BLOCK;
    ssize_t size;

    *bytes = NULL;
    *count = 0;
    size = H5Fflush(h5->file, H5F_SCOPE_GLOBAL) >= 0 ? H5Fget_file_image(h5->file, NULL, 0) : -1;
    COC_TRY(written(h5, size > COC_IMAGE_BLOCK, "the image"));
    COC_TRY(coc_alloc((int64_t)front + size, 1, bytes));
    if (H5Fget_file_image(h5->file, *bytes + front, (size_t)size) != size) {
        free(*bytes);
        *bytes = NULL;
        return written(h5, false, "the image");
    }
    /* releases differ in whether the image begins with the user block */
    if (memcmp(*bytes + front, SIGNATURE, 8) != 0) {
        memmove(*bytes, *bytes + front, (size_t)size);
        front = 0;
    }
    *count = front + (size_t)size;
    return COC_OK;
}

coc_status coc_h5_open(const char *path, const char *bytes, size_t count, coc_h5 *h5)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);

    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    *h5 = (coc_h5){.file = -1, .path = path};
    if (H5Pset_fapl_core(access, MEMORY_STEP, 0) >= 0 &&
        H5Pset_file_image(access, (void *)(uintptr_t)bytes, count) >= 0) /* copies */
        h5->file = H5Fopen("checkpoint", H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (h5->file >= 0) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: not a checkpoint: HDF5 cannot read it", path);
}

void coc_h5_close(coc_h5 *h5)
{
    if (h5->file >= 0) H5Fclose(h5->file);
    h5->file = -1;
}

/* ---- attributes ----------------------------------------------------------------------------- */

static hid_t text_type(void)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static coc_status put_attribute(coc_h5 *h5, const char *name, hid_t file_type, hid_t memory_type,
                                const void *value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t a = H5Acreate2(h5->file, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = a >= 0 && H5Awrite(a, memory_type, value) >= 0;

    if (a >= 0) H5Aclose(a);
    H5Sclose(space);
    return written(h5, good, name);
}

coc_status coc_h5_put_text(coc_h5 *h5, const char *name, const char *value)
{
    const hid_t type = text_type();
    const coc_status status = put_attribute(h5, name, type, type, &value);

    H5Tclose(type);
    return status;
}

coc_status coc_h5_put_int(coc_h5 *h5, const char *name, int64_t value)
{
    return put_attribute(h5, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

coc_status coc_h5_put_double(coc_h5 *h5, const char *name, double value)
{
    return put_attribute(h5, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

bool coc_h5_has_attribute(const coc_h5 *h5, const char *name)
{
    return H5Aexists(h5->file, name) > 0;
}

/* A scalar attribute of one class, or a failure; *type is to be closed. */
static hid_t open_attribute(const coc_h5 *h5, const char *name, H5T_class_t class, hid_t *type)
{
    hid_t a = coc_h5_has_attribute(h5, name) ? H5Aopen(h5->file, name, H5P_DEFAULT) : -1;
    hid_t space = -1;

    *type = -1;
    if (a < 0) return -1;
    *type = H5Aget_type(a);
    space = H5Aget_space(a);
    if (H5Tget_class(*type) != class || H5Sget_simple_extent_npoints(space) != 1) {
        H5Tclose(*type);
        *type = -1;
        H5Aclose(a);
        a = -1;
    }
    H5Sclose(space);
    return a;
}

static coc_status get_number(const coc_h5 *h5, const char *name, H5T_class_t class,
                             hid_t memory_type, void *value)
{
    hid_t type;
    const hid_t a = open_attribute(h5, name, class, &type);
    const bool good = a >= 0 && H5Aread(a, memory_type, value) >= 0;

    if (a >= 0) H5Aclose(a);
    if (type >= 0) H5Tclose(type);
    return good ? COC_OK : broken(h5, "attribute", name);
}

coc_status coc_h5_get_int(const coc_h5 *h5, const char *name, int64_t *value)
{
    *value = 0;
    return get_number(h5, name, H5T_INTEGER, H5T_NATIVE_INT64, value);
}

coc_status coc_h5_get_double(const coc_h5 *h5, const char *name, double *value)
{
    *value = 0;
    return get_number(h5, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, value);
}

coc_status coc_h5_get_text(const coc_h5 *h5, const char *name, char **value)
{
    hid_t type;
    const hid_t a = open_attribute(h5, name, H5T_STRING, &type), memory = text_type();
    char *text = NULL;

    *value = NULL;
    if (a >= 0 && H5Tis_variable_str(type) > 0 && H5Aread(a, memory, &text) >= 0 && text != NULL)
        *value = coc_strdup(text);
    if (text != NULL) H5free_memory(text);
    H5Tclose(memory);
    if (a >= 0) H5Aclose(a);
    if (type >= 0) H5Tclose(type);
    return *value != NULL ? COC_OK : broken(h5, "attribute", name);
}

/* ---- tensors -------------------------------------------------------------------------------- */

bool coc_h5_has_group(const coc_h5 *h5, const char *name)
{
    return H5Lexists(h5->file, name, H5P_DEFAULT) > 0;
}

coc_status coc_h5_put_group(coc_h5 *h5, const char *name)
{
    const hid_t group = H5Gcreate2(h5->file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

    if (group >= 0) H5Gclose(group);
    return written(h5, group >= 0, name);
}

static bool is_counter(const coc_tensor *tensor)
{
    return tensor->kind == COC_TENSOR_COUNTER;
}

static hid_t memory_type_of(const coc_tensor *tensor)
{
    return is_counter(tensor) ? H5T_NATIVE_INT64 : H5T_NATIVE_FLOAT;
}

static hid_t file_type_of(const coc_tensor *tensor)
{
    return is_counter(tensor) ? H5T_STD_I64LE : H5T_IEEE_F32LE;
}

static void tensor_name(const char *group, const coc_tensor *tensor, char name[160])
{
    snprintf(name, 160, "%s/%s", group, tensor->name);
}

coc_status coc_h5_put_tensor(coc_h5 *h5, const char *group, const coc_tensor *tensor,
                             const void *values)
{
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t shape[DIMS];
    hid_t space, set;
    char name[160];
    bool good;

    tensor_name(group, tensor, name);
    for (int i = 0; i < tensor->dims; i++)
        shape[i] = (hsize_t)tensor->shape[i];
    space = tensor->dims > 0 ? H5Screate_simple(tensor->dims, shape, NULL) : H5Screate(H5S_SCALAR);
    H5Pset_obj_track_times(creation, 0); /* the same model gives the same bytes */
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    set =
        H5Dcreate2(h5->file, name, file_type_of(tensor), space, H5P_DEFAULT, creation, H5P_DEFAULT);
    good = set >= 0 &&
           H5Dwrite(set, memory_type_of(tensor), H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    if (set >= 0) H5Dclose(set);
    H5Sclose(space);
    H5Pclose(creation);
    return written(h5, good, name);
}

static coc_status check_shape(const coc_h5 *h5, hid_t set, const char *name,
                              const coc_tensor *tensor)
{
    const hid_t space = H5Dget_space(set);
    const int dims = H5Sget_simple_extent_ndims(space);
    hsize_t shape[H5S_MAX_RANK];
    int64_t there[DIMS];
    char a[128], b[128];
    bool same = dims == tensor->dims;

    if (dims > 0) H5Sget_simple_extent_dims(space, shape, NULL);
    H5Sclose(space);
    for (int i = 0; i < dims && i < DIMS; i++) {
        there[i] = (int64_t)shape[i];
        same = same && there[i] == tensor->shape[i];
    }
    if (same) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: '%s' has shape %s%s, this model needs %s", h5->path, name,
                    coc_shape_text(dims < DIMS ? (dims > 0 ? dims : 0) : DIMS, there, a),
                    dims > DIMS ? "..." : "", coc_shape_text(tensor->dims, tensor->shape, b));
}

static coc_status check_type(const coc_h5 *h5, hid_t set, const char *name,
                             const coc_tensor *tensor)
{
    const hid_t type = H5Dget_type(set);
    const bool same = H5Tequal(type, file_type_of(tensor)) > 0;

    H5Tclose(type);
    if (same) return COC_OK;
    return COC_FAIL(COC_ERR_INPUT, "%s: '%s' must hold %s numbers, it holds others", h5->path, name,
                    is_counter(tensor) ? "int64" : "float32");
}

coc_status coc_h5_get_tensor(const coc_h5 *h5, const char *group, const coc_tensor *tensor,
                             void *values)
{
    coc_status status;
    char name[160];
    hid_t set;

    tensor_name(group, tensor, name);
    set = H5Dopen2(h5->file, name, H5P_DEFAULT);
    if (set < 0) return broken(h5, "tensor", name);
    status = check_type(h5, set, name, tensor);
    if (status == COC_OK) status = check_shape(h5, set, name, tensor);
    if (status == COC_OK &&
        H5Dread(set, memory_type_of(tensor), H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        status = broken(h5, "tensor", name);
    H5Dclose(set);
    return status;
}

typedef struct {
    const coc_h5 *h5;
    const coc_params *params;
    coc_status status;
} name_check;

static herr_t check_name(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    name_check *check = context;

    (void)group;
    (void)info;
    if (coc_params_find(check->params, name) != NULL) return 0;
    check->status =
        COC_FAIL(COC_ERR_INPUT, "%s: tensor '%.95s' is none of this model", check->h5->path, name);
    return 1;
}

coc_status coc_h5_check_names(const coc_h5 *h5, const char *group, const coc_params *params)
{
    name_check check = {.h5 = h5, .params = params, .status = COC_OK};

    if (!coc_h5_has_group(h5, group)) return broken(h5, "group", group);
    if (H5Literate_by_name(h5->file, group, H5_INDEX_NAME, H5_ITER_INC, NULL, check_name, &check,
                           H5P_DEFAULT) < 0)
        return broken(h5, "group", group);
    return check.status;
}
