"""From run folders to curves, tables and a report: records → statistics → compare → plot → report."""
