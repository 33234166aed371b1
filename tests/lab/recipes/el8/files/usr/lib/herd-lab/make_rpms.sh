# Make the stand-in RPMs of the table `rpms`, in repositories under /srv/rpm, out of packages that are installed here.
# Runs while the layer is made; the packages themselves are removed afterwards.
set -eu
here=/usr/lib/herd-lab
out=/srv/rpm
work=$(mktemp -d)
mkdir -p "$out"

# build REPOSITORY NAME VERSION REQUIRES STAGE: everything in STAGE becomes the RPM.
build() {
    repository=$1
    shift
    (cd "$4" && find . -not -type d -printf '"/%P"\n') > "$work/files"
    {
        echo "Name: $1"
        echo "Version: $2"
        echo "Release: 1.lab"
        echo "Summary: Stand-in of the lab for $1"
        echo "License: see the Debian packages"
        # The contents come from another distribution, so its dependencies mean nothing here.
        echo "AutoReqProv: no"
        for requirement in $3; do echo "Requires: $requirement"; done
        echo "%description"
        echo "A double with the name of EL8's package."
        echo "%install"
        echo "mkdir -p %{buildroot} && cp -a $4/. %{buildroot}/"
        if [ -s "$work/files" ]; then echo "%files -f $work/files"; else echo "%files"; fi
    } > "$work/$1.spec"
    rpmbuild -bb --quiet --define "_topdir $work/top" --define "_rpmdir $out/$repository" --define "debug_package %{nil}" \
        --define "__os_install_post %{nil}" --define "_build_id_links none" \
        --define "_binary_payload w1.gzdio" --target x86_64 "$work/$1.spec"
    rm -rf "$4"
}

# stage PREFIX PACKAGES...: copy the packages' files, with Debian's merged /usr spelled out.
stage() {
    prefix=$1
    shift
    for package in "$@"; do
        dpkg -L "$package" | while read -r path; do
            case $path in /usr/share/doc/*|/usr/share/man/*|/usr/share/lintian/*|/usr/share/bug/*) continue ;; esac
            if [ -d "$path" ] && [ ! -L "$path" ]; then continue; fi
            [ -e "$path" ] || [ -L "$path" ] || continue
            case $path in /bin/*|/sbin/*|/lib/*|/lib64/*) placed=/usr$path ;; *) placed=$path ;; esac
            mkdir -p "$work/stage$prefix$(dirname "$placed")"
            cp -a "$path" "$work/stage$prefix$placed"
        done
    done
}

version_of() {
    dpkg-query -W -f '${Version}' "$1" | sed 's/^[0-9]*://; s/[-+~].*//'
}

sed 's/#.*//; /^[[:space:]]*$/d' "$here/rpms" | while IFS='|' read -r where name prefix requires packages; do
    where=$(echo $where) name=$(echo $name) prefix=$(echo $prefix) requires=$(echo $requires) packages=$(echo $packages)
    mkdir -p "$work/stage"
    version=12
    if [ -n "$packages" ]; then
        stage "$prefix" $packages
        version=$(version_of "${packages%% *}")
    fi
    root=$work/stage$prefix
    case $name in
    gcc-toolset-12-gcc) ln -s gcc "$root/usr/bin/cc" ;;
    gcc-toolset-12-gcc-c++) ln -s g++ "$root/usr/bin/c++" ;;
    esac
    # Links to shared libraries lead out of the new prefix: those libraries stay where the system has them.
    if [ -n "$prefix" ]; then
        find "$root" -type l -name '*.so*' | while read -r link; do
            [ ! -e "$link" ] || continue
            target=$(readlink "$link")
            case $target in *x86_64-linux-gnu/*) ln -sfn "/usr/lib/x86_64-linux-gnu/${target##*/}" "$link" ;; esac
        done
    fi
    build "$where" "$name" "$version" "$requires" "$work/stage"
done

# What is no package of Debian: the toolset's switch, and the Python that EL8 has beside its own.
mkdir -p "$work/stage/opt/rh/gcc-toolset-12"
cp "$here/enable" "$work/stage/opt/rh/gcc-toolset-12/enable"
build appstream gcc-toolset-12-runtime 12 "" "$work/stage"

mkdir -p "$work/stage/usr/bin"
cp /usr/bin/python3.11 "$work/stage/usr/bin/python3.12"
build appstream python3.12 3.12 "" "$work/stage"

for repository in "$out"/*; do createrepo_c --quiet "$repository"; done
rm -rf "$work"
