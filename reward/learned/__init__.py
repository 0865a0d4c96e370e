"""Learned metrics of translation, one file a family: COMET, COMETKiwi, xCOMET, MetricX and BLEURT."""
