"""What a store holds as tables for other programs, written block by block in memory that does not grow with them."""

from opsigcli.registry import Entry, Registry

TABLES = Registry(
    "table",
    {
        "losses": Entry("opsigcli.exporting.matrices:losses_table", "a row per example, a column per step"),
        "deltas": Entry("opsigcli.exporting.matrices:deltas_table", "the same of loss deltas"),
        "sharpness": Entry("opsigcli.exporting.results:sharpness_table", "a row per checkpoint measured"),
        "pairs": Entry("opsigcli.exporting.results:pairs_table", "a row per member of a group"),
        "examples": Entry("opsigcli.exporting.results:examples_table", "a row per example"),
    },
)
FORMATS = Registry(
    "format",
    {
        "csv": Entry("opsigcli.exporting.texts:write_csv", "comma-separated, UTF-8, with a line of names"),
        "jsonl": Entry("opsigcli.exporting.texts:write_jsonl", "an object on every line"),
        "npz": Entry("opsigcli.exporting.arrays:write_npz", "arrays by name, for numpy.load"),
        "parquet": Entry("opsigcli.exporting.arrays:write_parquet", "columns (extra: parquet)"),
    },
)
BINARY = ("npz", "parquet")  # of these, what is no text
LOGS = Registry(
    "program",
    {
        "tensorboard": Entry(
            "opsigcli.exporting.tensorboard:log_to_folder", "tensorboard:DIR: an event file"
        ),
        "wandb": Entry("opsigcli.exporting.wandb_run:log_offline", "wandb:offline: a run to be sent by hand"),
    },
)
