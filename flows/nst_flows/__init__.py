"""The Prefect flow and its tasks, each a thin call into `nst`."""
