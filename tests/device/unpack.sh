#!/usr/bin/env bash
# usage: unpack.sh PACKAGES PREFIX
#
# Unpacks PACKAGES/*.deb into PREFIX, without installing anything, and makes what relocation breaks:
#   PREFIX/environment   what programs need that are linked with these libraries, one NAME=VALUE a
# line
#   PREFIX/cmake         arguments of cmake, one a line
#   PREFIX/bin/mpicc     for CMake's questions
# Only programs of ours get the environment: the system's own tools may need newer libraries than
# these.
set -euo pipefail
packages=$(cd "$1" && pwd)
mkdir -p "$2"
prefix=$(cd "$2" && pwd)
stamp=$(cd "$packages" && find . -name '*.deb' -printf '%f %s\n' | sort | cksum)
[ "$(cat "$prefix/unpacked" 2>/dev/null)" = "$stamp" ] && exit 0
rm -rf "$prefix" && mkdir -p "$prefix/bin"

# shellcheck disable=SC2016 # the inner shell expands
find "$packages" -name '*.deb' -print0 |
    xargs -0 -n 1 -P "$(nproc)" sh -c 'dpkg -x "$1" "$0"' "$prefix"
mpi=$(find "$prefix/usr/lib" -name 'libmpi.so.40' | head -n 1)
[ -n "$mpi" ] || { echo "unpack: no Open MPI among the packages in $packages" >&2; exit 1; }
lib=$(dirname "$mpi")
machine=$(basename "$lib")

# Debian's Open MPI remembers /usr in four ways; there is no ssh and no fast network to be looked
# for.
cat >"$prefix/environment" <<END
OPAL_PREFIX=$prefix/usr
OPAL_LIBDIR=$lib/openmpi/lib
OPAL_PKGLIBDIR=$lib/openmpi/lib/openmpi3
OPAL_PKGDATADIR=$prefix/usr/share/openmpi
OPAL_DATADIR=$prefix/usr/share
OPAL_SYSCONFDIR=$prefix/etc
OPAL_INCLUDEDIR=$lib/openmpi/include
PMIX_INSTALL_PREFIX=$lib/pmix2
OMPI_MCA_plm_rsh_agent=/bin/false
PMIX_MCA_pcompress_base_silence_warning=1
OMPI_MCA_pml=ob1
OMPI_MCA_btl=self,vader
LD_LIBRARY_PATH=$lib:$lib/openmpi/lib:$prefix/lib/$machine
PATH=$prefix/bin:$prefix/usr/bin
END
for name in mpirun mpiexec; do ln -s "$prefix/usr/bin/$name.openmpi" "$prefix/bin/$name"; done
cat >"$prefix/bin/mpicc" <<END
#!/bin/sh
set -a
. $prefix/environment
PATH=\$PATH:/usr/local/bin:/usr/bin:/bin
exec $prefix/usr/bin/mpicc.openmpi "\$@"
END
chmod +x "$prefix/bin/mpicc"

hdf5=$lib/hdf5/serial
cat >"$prefix/cmake" <<END
-DMPI_C_COMPILER=$prefix/bin/mpicc
-DMPIEXEC_EXECUTABLE=$prefix/bin/mpirun
-DHDF5_C_COMPILER_EXECUTABLE=HDF5_C_COMPILER_EXECUTABLE-NOTFOUND
-DHDF5_C_INCLUDE_DIR=$prefix/usr/include/hdf5/serial
-DHDF5_hdf5_LIBRARY_RELEASE=$hdf5/libhdf5.so
-DPKG_CONFIG_EXECUTABLE=$prefix/bin/pkg-config
-DCMAKE_PREFIX_PATH=$prefix/usr
-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,$lib:$lib/openmpi/lib:$prefix/lib/$machine
END
cat >"$prefix/bin/pkg-config" <<END
#!/bin/sh
LD_LIBRARY_PATH=$lib PKG_CONFIG_SYSROOT_DIR=$prefix \\
    PKG_CONFIG_LIBDIR=$lib/pkgconfig:$prefix/usr/share/pkgconfig exec $prefix/usr/bin/pkgconf "\$@"
END
chmod +x "$prefix/bin/pkg-config"
echo "$stamp" >"$prefix/unpacked"
