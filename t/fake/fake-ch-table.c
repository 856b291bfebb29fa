/*
 * The bodies of Cloud Hypervisor v53, member by member in the order of its declarations, which is the order of vm.info:
 * type, whether required, default. The differential test holds them against the real program.
 */
#include "t/fake/fake-ch-schema.h"
#include "t/fake/fake-ch.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* clang-format off */
/* Without a default a member is optional. */
#define BOOL(n)          {.name = n, .type = V_BOOL, .dflt = "false"}
#define BOOL_ON(n)       {.name = n, .type = V_BOOL, .dflt = "true"}
#define U8(n, ...)       {.name = n, .type = V_INT, .max = UINT8_MAX, __VA_ARGS__}
#define U16(n, ...)      {.name = n, .type = V_INT, .max = UINT16_MAX, __VA_ARGS__}
#define U32(n, ...)      {.name = n, .type = V_INT, .max = UINT32_MAX, __VA_ARGS__}
#define U64(n, ...)      {.name = n, .type = V_INT, .max = INT64_MAX, __VA_ARGS__}
#define TEXT(n, ...)     {.name = n, .type = V_TEXT, __VA_ARGS__}
#define PATH(n, ...)     {.name = n, .type = V_PATH, __VA_ARGS__}
#define WORD(n, d, ...)  {.name = n, .type = V_WORD, .dflt = d, .words = WORDS(__VA_ARGS__)}
#define OBJECT(n, o, ...) {.name = n, .type = V_OBJECT, .object = &(o), __VA_ARGS__}
#define LIST(n, o)       {.name = n, .type = V_OBJECT, .object = &(o), .flags = M_LIST}
#define END              {.name = NULL}
#define NEEDED           .flags = M_REQUIRED
#define LISTED           .flags = M_LIST

/* clang-format on */
#define TABLE(o, n, ...)                                                                                               \
    static const struct member o##_members[] = {__VA_ARGS__, END};                                                     \
    const struct object o = {.name = n, .members = o##_members}
#define LOCAL_TABLE(o, n, ...)                                                                                         \
    static const struct member o##_members[] = {__VA_ARGS__, END};                                                     \
    static const struct object o = {.name = n, .members = o##_members}

/* What every PCI device has. */
#define PCI                                                                                                            \
    TEXT("id", .flags = M_FLAT), {.name = "iommu", .type = V_BOOL, .dflt = "false", .flags = M_FLAT | M_NOT_FALSE},    \
        U16("pci_segment", .dflt = "0", .flags = M_FLAT), U8("pci_device_id", .flags = M_FLAT)

/* ---- processors and memory --------------------------------------------------------------------------------------- */

LOCAL_TABLE(object_topology, "struct CpuTopology", U16("threads_per_core", NEEDED), U16("cores_per_die", NEEDED),
            U16("dies_per_package", NEEDED), U16("packages", NEEDED));
LOCAL_TABLE(object_affinity, "struct CpuAffinity", U32("vcpu", NEEDED), U64("host_cpus", .flags = M_REQUIRED | M_LIST));
LOCAL_TABLE(object_features, "struct CpuFeatures", BOOL("amx"));
LOCAL_TABLE(object_cpus, "struct CpusConfig", U32("boot_vcpus", NEEDED), U32("max_vcpus", NEEDED),
            OBJECT("topology", object_topology), BOOL("kvm_hyperv"), U8("max_phys_bits", .dflt = "46"),
            LIST("affinity", object_affinity), OBJECT("features", object_features, .dflt = "{}"), BOOL_ON("nested"),
            WORD("core_scheduling", "\"Vm\"", "Vm", "Vcpu", "Off"), WORD("profile", "\"Host\"", "Host"));
LOCAL_TABLE(object_zone, "struct MemoryZoneConfig", TEXT("id", NEEDED), U64("size", NEEDED), PATH("file"),
            BOOL("shared"), BOOL("hugepages"), U64("hugepage_size"), U32("host_numa_node"), U64("hotplug_size"),
            U64("hotplugged_size"), BOOL("prefault"), BOOL("reserve"), BOOL("mergeable"));
LOCAL_TABLE(object_memory, "struct MemoryConfig", U64("size", NEEDED), BOOL("mergeable"),
            WORD("hotplug_method", "\"Acpi\"", "Acpi", "VirtioMem"), U64("hotplug_size"), U64("hotplugged_size"),
            BOOL("shared"), BOOL("hugepages"), U64("hugepage_size"), BOOL("prefault"), BOOL("reserve"),
            LIST("zones", object_zone), BOOL_ON("thp"));
LOCAL_TABLE(object_distance, "struct NumaDistance", U32("destination", .dflt = "0"), U8("distance", .dflt = "0"));
LOCAL_TABLE(object_numa, "struct NumaConfig", U32("guest_numa_id", NEEDED), U32("cpus", LISTED),
            LIST("distances", object_distance), TEXT("memory_zones", LISTED), U16("pci_segments", LISTED),
            TEXT("device_id"));

/* ---- devices ----------------------------------------------------------------------------------------------------- */

LOCAL_TABLE(object_bucket, "struct TokenBucketConfig", U64("size", NEEDED), U64("one_time_burst", .flags = M_NULL),
            U64("refill_time", NEEDED));
static const struct member object_limiter_members[] = {OBJECT("bandwidth", object_bucket, .flags = M_NULL),
                                                       OBJECT("ops", object_bucket, .flags = M_NULL), END};
static const struct object object_limiter = {
    .name = "struct RateLimiterConfig", .members = object_limiter_members, .denies_unknown = true};
LOCAL_TABLE(object_limit_group, "struct RateLimiterGroupConfig", TEXT("id", .dflt = "\"\""),
            OBJECT("rate_limiter_config", object_limiter, .dflt = "{}"));
LOCAL_TABLE(object_queue_affinity, "struct VirtQueueAffinity", U16("queue_index", NEEDED),
            U64("host_cpus", .flags = M_REQUIRED | M_LIST));

TABLE(object_disk, "struct DiskConfig", PCI, PATH("path"), BOOL("readonly"), BOOL("direct"),
      U64("num_queues", .dflt = "1"), U16("queue_size", .dflt = "128"), BOOL("vhost_user"), TEXT("vhost_socket"),
      TEXT("rate_limit_group"), OBJECT("rate_limiter_config", object_limiter), BOOL("disable_io_uring"),
      BOOL("disable_aio"), TEXT("serial"), LIST("queue_affinity", object_queue_affinity), BOOL("backing_files"),
      BOOL_ON("sparse"), WORD("image_type", "\"Unknown\"", "FixedVhd", "Qcow2", "Raw", "Vhdx", "Unknown"),
      WORD("lock_granularity", "\"ByteRange\"", "ByteRange", "Full"));
TABLE(object_net, "struct NetConfig", PCI, TEXT("tap"), TEXT("ip"), TEXT("mask"),
      {.name = "mac", .type = V_MAC, .dflt = "\"random\""}, {.name = "host_mac", .type = V_MAC}, U16("mtu"),
      U64("num_queues", .dflt = "2"), U16("queue_size", .dflt = "256"), BOOL("vhost_user"), TEXT("vhost_socket"),
      WORD("vhost_mode", "\"Client\"", "Client", "Server"), {.name = "fds", .type = V_FDS},
      OBJECT("rate_limiter_config", object_limiter), BOOL_ON("offload_tso"), BOOL_ON("offload_ufo"),
      BOOL_ON("offload_csum"));
LOCAL_TABLE(object_rng, "struct RngConfig", PCI, PATH("src", NEEDED));
LOCAL_TABLE(object_rtc, "struct RtcConfig", PCI);
LOCAL_TABLE(object_balloon, "struct BalloonConfig", PCI, U64("size", NEEDED), BOOL("deflate_on_oom"),
            BOOL("free_page_reporting"));
TABLE(object_fs, "struct FsConfig", PCI, TEXT("tag", NEEDED), PATH("socket", NEEDED), U64("num_queues", .dflt = "1"),
      U16("queue_size", .dflt = "1024"));
TABLE(object_vhost_user, "struct GenericVhostUserConfig", PCI, PATH("socket", NEEDED),
      U16("queue_sizes", .flags = M_REQUIRED | M_LIST), U32("device_type", NEEDED));
TABLE(object_pmem, "struct PmemConfig", PCI, PATH("file", NEEDED), U64("size"), BOOL("discard_writes"));
TABLE(object_device, "struct DeviceConfig", PCI, PATH("path"), U32("fd"), U8("x_nv_gpudirect_clique"),
      U64("x_exclude_mmap_bars", .dflt = "[]", LISTED));
TABLE(object_user_device, "struct UserDeviceConfig", PCI, PATH("socket", NEEDED));
TABLE(object_vdpa, "struct VdpaConfig", PCI, PATH("path", NEEDED), U64("num_queues", .dflt = "1"));
TABLE(object_vsock, "struct VsockConfig", PCI, U32("cid", NEEDED), PATH("socket", NEEDED));

#define CONSOLE_MODES "Off", "Pty", "Tty", "File", "Socket", "Null"
#define CONSOLE                                                                                                        \
    PATH("file", .flags = M_FLAT),                                                                                     \
        {.name = "mode", .type = V_WORD, .words = WORDS(CONSOLE_MODES), .flags = M_REQUIRED | M_FLAT},                 \
        PATH("socket", .flags = M_FLAT)
LOCAL_TABLE(object_serial, "struct SerialConfig", CONSOLE);
LOCAL_TABLE(object_console, "struct ConsoleConfig", CONSOLE, PCI);
LOCAL_TABLE(object_debug_console, "struct DebugConsoleConfig", PATH("file"),
            {.name = "mode", .type = V_WORD, .words = WORDS(CONSOLE_MODES), .flags = M_REQUIRED}, U16("iobase"));

/* ---- the machine ------------------------------------------------------------------------------------------------- */

LOCAL_TABLE(object_payload, "struct PayloadConfig", PATH("firmware"), PATH("kernel"), TEXT("cmdline"),
            PATH("initramfs"));
LOCAL_TABLE(object_segment, "struct PciSegmentConfig", U16("pci_segment", .dflt = "0"),
            U32("mmio32_aperture_weight", .dflt = "1"), U32("mmio64_aperture_weight", .dflt = "1"));
LOCAL_TABLE(object_platform, "struct PlatformConfig", U16("num_pci_segments", .dflt = "1"),
            U16("iommu_segments", LISTED), U8("iommu_address_width_bits", .dflt = "64"),
            TEXT("system_serial_number", .alias = "serial_number"), TEXT("system_uuid", .alias = "uuid"),
            TEXT("oem_strings", LISTED), TEXT("system_manufacturer"), TEXT("system_product_name"),
            TEXT("system_version"), TEXT("system_family"), TEXT("system_sku_number"), TEXT("chassis_asset_tag"),
            BOOL("iommufd"), U32("iommufd_fd"), BOOL_ON("vfio_p2p_dma"));
LOCAL_TABLE(object_tpm, "struct TpmConfig", PATH("socket", NEEDED));
LOCAL_TABLE(object_landlock, "struct LandlockConfig", PATH("path", NEEDED), TEXT("access", NEEDED));

TABLE(object_vm, "struct VmConfig",
      OBJECT("cpus", object_cpus, .dflt = "{\"boot_vcpus\":1,\"max_vcpus\":1}"),
      OBJECT("memory", object_memory, .dflt = "{\"size\":536870912}"), OBJECT("payload", object_payload),
      LIST("rate_limit_groups", object_limit_group), LIST("disks", object_disk), LIST("net", object_net),
      OBJECT("rng", object_rng, .dflt = "{\"src\":\"/dev/urandom\"}"), OBJECT("balloon", object_balloon),
      LIST("generic_vhost_user", object_vhost_user), LIST("fs", object_fs), LIST("pmem", object_pmem),
      OBJECT("serial", object_serial, .dflt = "{\"mode\":\"Null\"}"),
      OBJECT("console", object_console, .dflt = "{\"mode\":\"Tty\"}"),
      OBJECT("debug_console", object_debug_console, .dflt = "{\"mode\":\"Off\",\"iobase\":233}"),
      LIST("devices", object_device), LIST("user_devices", object_user_device), LIST("vdpa", object_vdpa),
      OBJECT("vsock", object_vsock), BOOL("pvpanic"), BOOL("iommu"), LIST("numa", object_numa), BOOL("watchdog"),
      OBJECT("rtc", object_rtc), LIST("pci_segments", object_segment), OBJECT("platform", object_platform),
      OBJECT("tpm", object_tpm), BOOL("landlock_enable"), LIST("landlock_rules", object_landlock));

/* ---- other requests ---------------------------------------------------------------------------------------------- */

TABLE(object_resize, "struct VmResizeData", U32("desired_vcpus"), U64("desired_ram"), U64("desired_balloon"));
TABLE(object_resize_disk, "struct VmResizeDiskData", TEXT("id", NEEDED), U64("desired_size", NEEDED));
TABLE(object_resize_zone, "struct VmResizeZoneData", TEXT("id", NEEDED), U64("desired_ram", NEEDED));
TABLE(object_remove, "struct VmRemoveDeviceData", TEXT("id", NEEDED));
TABLE(object_snapshot, "struct VmSnapshotConfig", TEXT("destination_url", NEEDED));
LOCAL_TABLE(object_net_fds, "struct RestoredNetConfig", TEXT("id", NEEDED), U64("num_fds", .dflt = "0"),
            {.name = "fds", .type = V_FDS});
TABLE(object_restore, "struct RestoreConfig", PATH("source_url", NEEDED), BOOL("prefault"),
      WORD("memory_restore_mode", "\"Copy\"", "Copy", "OnDemand"), LIST("net_fds", object_net_fds), BOOL("resume"));
TABLE(object_receive, "struct VmReceiveMigrationData", TEXT("receiver_url", NEEDED), PATH("tls_dir"),
      WORD("memory_mode", "\"Precopy\"", "Precopy", "Postcopy"));
TABLE(object_send, "struct VmSendMigrationData", TEXT("destination_url", NEEDED), BOOL("local"),
      U64("downtime_ms", .dflt = "300", .flags = M_NOT_ZERO), U64("timeout_s", .dflt = "3600", .flags = M_NOT_ZERO),
      WORD("timeout_strategy", "\"Cancel\"", "Cancel", "Ignore"),
      U32("connections", .dflt = "1", .flags = M_NOT_ZERO), PATH("tls_dir"),
      WORD("memory_mode", "\"Precopy\"", "Precopy", "Postcopy"));
