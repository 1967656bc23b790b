"""From predictions to rows: scores with their empty-mask policy, one value per class and metric."""

from semiseg.evaluate.metrics import METRICS, EmptyPolicy, Metric, Row, mask_metrics, score

__all__ = ["METRICS", "EmptyPolicy", "Metric", "Row", "mask_metrics", "score"]
