"""The mathematics against measurements: assumption audit, bound against run, exact recursion against
paths."""

from __future__ import annotations

from bstheory.comparison.audit import AuditItem as AuditItem
from bstheory.comparison.audit import audit as audit
from bstheory.comparison.audit import audit_verdict as audit_verdict
from bstheory.comparison.compare import Comparison as Comparison
from bstheory.comparison.compare import compare as compare
from bstheory.comparison.exact import compare_exact as compare_exact
from bstheory.comparison.limits import mean_limits as mean_limits
