"""Is a judge right? Verdicts labelled by people, and scores corrected for the judge's errors.

A judge's verdict is a noisy measurement of whether what a caption says to a question equals the key. People label a
random part of the verdicts (``plan.py``, ``labels.py``); the score is estimated from both (``estimate.py``).
"""
