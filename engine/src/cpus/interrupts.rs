//! Which processor a disk interrupts: a durable write that another processor waits for ends some tens of microseconds later.
//!
//! - Told by what the kernel has counted, not by what is allowed: `/proc/interrupts` over the interrupts of the device that
//!   `/sys/dev/block` names.
//! - Where no single processor takes most of them (a queue for each), where the file system has no disk of its own, or where the kernel
//!   does not tell, there is no answer, and that is never an error.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Devices that stand upon each other (a mapper on a partition on a disk): more is not followed.
const STOREYS_MAX: usize = 8;

/// The processor that takes most interrupts of the disk on which `folder` lies.
pub(super) fn processor_of(folder: &Path) -> Option<usize> {
    let device = fs::metadata(folder).ok()?.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let block = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let numbers = numbers_of(&disk_below(block))?;
    busiest(&fs::read_to_string("/proc/interrupts").ok()?, &numbers)
}

/// What a mapped device lies on; itself, where it lies on nothing else.
fn disk_below(mut block: PathBuf) -> PathBuf {
    for _ in 0..STOREYS_MAX {
        let below = fs::read_dir(block.join("slaves")).ok();
        let first = below.and_then(|mut names| names.next()?.ok());
        match first.and_then(|name| fs::canonicalize(name.path()).ok()) {
            Some(path) => block = path,
            None => break,
        }
    }
    block
}

/// The numbers of the interrupts of the device that carries this disk.
fn numbers_of(block: &Path) -> Option<Vec<u32>> {
    let folders = block.ancestors().map(|above| above.join("msi_irqs"));
    let names = folders.into_iter().find_map(|path| fs::read_dir(path).ok());
    let numbers = names?.filter_map(|name| name.ok()?.file_name().to_str()?.parse().ok());
    Some(numbers.collect())
}

/// The processor with more than half of these interrupts in a table like `/proc/interrupts`.
fn busiest(table: &str, numbers: &[u32]) -> Option<usize> {
    let mut lines = table.lines();
    let processors: Vec<usize> = lines
        .next()?
        .split_whitespace()
        .filter_map(|name| name.strip_prefix("CPU")?.parse().ok())
        .collect();
    let mut counts = vec![0_u64; processors.len()];
    for line in lines {
        let Some((number, columns)) = line.split_once(':') else {
            continue;
        };
        let number = number.trim().parse();
        if number.is_ok_and(|number| numbers.contains(&number)) {
            let columns = columns.split_whitespace();
            let columns = columns.map_while(|column| column.parse::<u64>().ok());
            for (count, more) in counts.iter_mut().zip(columns) {
                *count = count.saturating_add(more);
            }
        }
    }
    let all = counts
        .iter()
        .fold(0_u64, |all, &count| all.saturating_add(count));
    let place = counts.iter().position(|&count| count > all / 2)?;
    processors.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::busiest;

    const TABLE: &str = "           CPU0       CPU2       CPU3
  24:          1          0          0   IO-APIC   5-edge      ACPI:Ged
  35:          1          0          0   PCI-MSIX-0000:00:02.0   0-edge      virtio1-config
  36:          5         70         20   PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
  37:         60         10          0   PCI-MSIX-0000:00:03.0   1-edge      virtio2-req.0
 NMI:          9          9          9   Non-maskable interrupts
";

    #[track_caller]
    fn check(numbers: &[u32], expected: Option<usize>) {
        assert_eq!(busiest(TABLE, numbers), expected);
    }

    #[test]
    fn the_processor_with_most_interrupts_of_the_disk_is_named_as_the_kernel_does() {
        check(&[35, 36], Some(2));
        check(&[37], Some(0));
    }

    #[test]
    fn where_no_processor_takes_most_there_is_no_answer() {
        check(&[36, 37], None);
        check(&[], None);
        check(&[99], None);
    }

    #[test]
    fn a_table_of_another_shape_is_no_answer() {
        assert_eq!(busiest("", &[36]), None);
        assert_eq!(busiest("CPU0\n36\n36: many\n", &[36]), None);
        assert_eq!(busiest("no processor\n36: 7\n", &[36]), None);
    }
}
