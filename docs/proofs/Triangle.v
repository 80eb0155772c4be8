(** Double sums over pairs of steps [j <= n] and the sums over a window of steps. *)

From Coq Require Import Reals Lra Lia Psatz.
From BSTheory Require Import FiniteSums.
Local Open Scope R_scope.
Local Arguments pow : simpl never.

(** Sum over [j <= n < N], by [n] and by [j]. *)
Lemma sum_triangle N (f : nat -> nat -> R) :
  sum N (fun n => sum (S n) (fun j => f n j))
  = sum N (fun j => sum (N - j) (fun k => f (j + k)%nat j)).
Proof.
  induction N as [|N IH]; [reflexivity|].
  change (sum (S N) (fun n => sum (S n) (fun j => f n j)))
    with (sum N (fun n => sum (S n) (fun j => f n j)) + sum (S N) (fun j => f N j)).
  rewrite IH.
  change (sum (S N) (fun j => sum (S N - j) (fun k => f (j + k)%nat j)))
    with (sum N (fun j => sum (S N - j) (fun k => f (j + k)%nat j))
          + sum (S N - N) (fun k => f (N + k)%nat N)).
  replace (S N - N)%nat with 1%nat by lia.
  change (sum (S N) (fun j => f N j)) with (sum N (fun j => f N j) + f N N).
  rewrite (sum_ext N (fun j => sum (S N - j) _)
             (fun j => sum (N - j) (fun k => f (j + k)%nat j) + f N j)).
  - rewrite sum_plus. cbn [sum]. rewrite Nat.add_0_r.
    change (fun j => f N j) with (f N). ring.
  - intros j Hj. replace (S N - j)%nat with (S (N - j)) by lia. simpl. f_equal. f_equal. lia.
Qed.

(** Sum over [j < n < N]. *)
Lemma sum_strict_triangle N (f : nat -> nat -> R) :
  sum N (fun n => sum n (fun j => f n j))
  = sum N (fun j => sum (N - S j) (fun k => f (S j + k)%nat j)).
Proof.
  induction N as [|N IH]; [reflexivity|].
  change (sum (S N) (fun n => sum n (fun j => f n j)))
    with (sum N (fun n => sum n (fun j => f n j)) + sum N (fun j => f N j)).
  rewrite IH.
  change (sum (S N) (fun j => sum (S N - S j) (fun k => f (S j + k)%nat j)))
    with (sum N (fun j => sum (S N - S j) (fun k => f (S j + k)%nat j))
          + sum (S N - S N) (fun k => f (S N + k)%nat N)).
  replace (S N - S N)%nat with 0%nat by lia.
  rewrite (sum_ext N (fun j => sum (S N - S j) _)
             (fun j => sum (N - S j) (fun k => f (S j + k)%nat j) + f N j)).
  - rewrite sum_plus. cbn [sum]. change (fun j => f N j) with (f N). ring.
  - intros j Hj. replace (S N - S j)%nat with (S (N - S j)) by lia. cbn [sum]. f_equal. f_equal. lia.
Qed.

Definition from (j l : nat) (a : R) : R := if Nat.leb j l then a else 0.

Lemma sum_from j k f : sum (j + k) (fun l => from j l (f l)) = sum k (fun l => f (j + l)%nat).
Proof.
  induction k as [|k IH].
  - rewrite Nat.add_0_r. simpl. rewrite (sum_ext j _ (fun _ => 0)); [rewrite sum_const; ring|].
    intros l Hl. unfold from. destruct (Nat.leb_spec j l); [lia | reflexivity].
  - rewrite Nat.add_succ_r. simpl. rewrite IH. unfold from.
    destruct (Nat.leb_spec j (j + k)); [reflexivity | lia].
Qed.

Lemma sum_upto n l f : (l < n)%nat -> sum n (fun j => from j l (f j)) = sum (S l) f.
Proof.
  intros Hl. induction n as [|n IH]; [lia|].
  destruct (Nat.eq_dec l n) as [->|Hne].
  - apply sum_ext. intros j Hj. unfold from. destruct (Nat.leb_spec j n); [reflexivity | lia].
  - cbn [sum]. rewrite IH by lia. unfold from. destruct (Nat.leb_spec n l); [lia | cbn [sum]; ring].
Qed.

(** A window of steps inside a triangle of pairs. *)
Lemma sum_window N (a : nat -> nat -> R) (z : nat -> R) :
  sum N (fun n => sum n (fun j => a n j * sum (n - j) (fun l => z (j + l)%nat)))
  = sum N (fun l => z l * sum (N - S l) (fun k => sum (S l) (fun j => a (S l + k)%nat j))).
Proof.
  rewrite (sum_ext N _ (fun n => sum n (fun l => z l * sum (S l) (fun j => a n j)))).
  - rewrite sum_strict_triangle. apply sum_ext. intros l _. rewrite <- sum_scal. reflexivity.
  - intros n _.
    rewrite (sum_ext n _ (fun j => sum n (fun l => from j l (a n j * z l)))).
    + rewrite sum_swap. apply sum_ext. intros l Hl.
      rewrite <- sum_scal. rewrite <- (sum_upto n l (fun j => z l * a n j)) by exact Hl.
      apply sum_ext. intros j _. unfold from. destruct (Nat.leb j l); ring.
    + intros j Hj. rewrite <- sum_scal.
      rewrite <- (sum_from j (n - j) (fun l => a n j * z l)).
      replace (j + (n - j))%nat with n by lia. reflexivity.
Qed.

(** Cauchy-Schwarz against a constant, and Jensen's inequality for subprobability weights. *)
Lemma square_of_sum k f : sum k f ^ 2 <= INR k * sum k (fun l => f l ^ 2).
Proof.
  induction k as [|k IH]; [simpl; right; ring|].
  rewrite S_INR. cbn [sum]. set (s := sum k f) in *. set (q := sum k (fun l => f l ^ 2)) in *.
  assert (H : 2 * (s * f k) <= q + INR k * f k ^ 2).
  { destruct k as [|k].
    - unfold s, q. simpl. lra.
    - set (c := INR (S k)) in *. assert (Hc : 0 < c) by (apply lt_0_INR; lia).
      assert (Hsq := pow2_ge_0 (s - c * f (S k))).
      apply (Rmult_le_reg_l c); [exact Hc|].
      replace (c * (2 * (s * f (S k)))) with (2 * s * (c * f (S k))) by ring.
      replace (c * (q + c * f (S k) ^ 2)) with (c * q + (c * f (S k)) ^ 2) by ring. lra. }
  replace ((s + f k) ^ 2) with (s ^ 2 + 2 * (s * f k) + f k ^ 2) by ring. lra.
Qed.

Lemma weighted_square_of_sum n w f :
  (forall j, (j < n)%nat -> 0 <= w j) -> sum n w <= 1 ->
  sum n (fun j => w j * f j) ^ 2 <= sum n (fun j => w j * f j ^ 2).
Proof.
  intros Hw H1. set (a := sum n (fun j => w j * f j)).
  assert (H : 0 <= sum n (fun j => w j * (f j - a) ^ 2)).
  { apply sum_nonneg. intros j Hj. apply Rmult_le_pos; [apply Hw; exact Hj | apply pow2_ge_0]. }
  rewrite (sum_ext n _ (fun j => (w j * f j ^ 2 - 2 * a * (w j * f j)) + a ^ 2 * w j)) in H
    by (intros; ring).
  rewrite sum_plus, sum_minus, !sum_scal in H. fold a in H.
  assert (Ha : a ^ 2 * sum n w <= a ^ 2 * 1) by (apply Rmult_le_compat_l; [apply pow2_ge_0 | exact H1]).
  lra.
Qed.
