(** Adam with momentum when every batch passes the coordinate-wise norm test:
    the corrected form of the bound for adaptive batch sizes.

      m' = beta1 m + (1 - beta1) g,  v' = beta2 v + (1 - beta2) g^2,
      w' = w - alpha m' / sqrt v',   no eps, v > 0 at the start, m = 0 at the start.

    The test holds at every node, before the draw: E (g_i - G_i)^2 <= eta^2 G_i^2.
    The proof is one potential function along the tree. *)

From Coq Require Import Reals Lra Lia Psatz List.
From BSTheory Require Import FiniteSums Analysis OneStep Tree Adam Smooth.
Local Open Scope R_scope.
Import ListNotations.
Local Arguments pow : simpl never.

(** ** The algorithm *)

Definition m_step (beta1 : R) (m g : vec) : vec := fun i => beta1 * m i + (1 - beta1) * g i.
Definition v_step (beta2 : R) (v g : vec) : vec := fun i => beta2 * v i + (1 - beta2) * g i ^ 2.
Definition w_step (alpha : R) (w m v : vec) : vec := fun i => w i - alpha * (m i / sqrt (v i)).

(** At most [n] steps; each draw is unbiased and passes the test. *)
Fixpoint norm_test_run (d : nat) (alpha beta1 beta2 eta : R) (gradF : vec -> vec)
    (n : nat) (w m v : vec) (t : tree) : Prop :=
  match t with
  | Stop => True
  | Step B k p g next =>
      match n with
      | O => False
      | S n' =>
          distribution k p
          /\ (forall i, (i < d)%nat -> mean k p (fun j => g j i) = gradF w i)
          /\ (forall i, (i < d)%nat ->
                mean k p (fun j => (g j i - gradF w i) ^ 2) <= eta ^ 2 * gradF w i ^ 2)
          /\ (forall j, (j < k)%nat ->
                let m' := m_step beta1 m (g j) in
                let v' := v_step beta2 v (g j) in
                norm_test_run d alpha beta1 beta2 eta gradF n' (w_step alpha w m' v') m' v' (next j))
      end
  end.

(** [sum_k f (w_k, v_(k-1))] along one run. *)
Fixpoint run_sum (alpha beta1 beta2 : R) (f : vec -> vec -> R) (w m v : vec) (path : path) : R :=
  match path with
  | [] => 0
  | (_, g) :: path' =>
      let m' := m_step beta1 m g in
      let v' := v_step beta2 v g in
      f w v + run_sum alpha beta1 beta2 f (w_step alpha w m' v') m' v' path'
  end.

Lemma norm_test_run_probability d alpha beta1 beta2 eta gradF t : forall n w m v,
  norm_test_run d alpha beta1 beta2 eta gradF n w m v t -> probability t.
Proof.
  induction t as [|B k p g next IH]; simpl; intros n w m v H; [exact I|].
  destruct n as [|n]; [contradiction|]. destruct H as (Hd & _ & _ & Hn).
  split; [exact Hd|]. intros j Hj. exact (IH j _ _ _ _ (Hn j Hj)).
Qed.

(** ** Scalar inequalities *)

(** The change of the preconditioner against the leading term: [P = sqrt v'],
    [Q = sqrt (beta2 v)], [e = 1 - beta2], [k = 1 - gamma^2], [b = 1 - beta1]. *)
Lemma preconditioner_change e k b s P Q G g m :
  0 < e -> 0 < k -> 0 <= b -> 0 < s -> 0 < Q -> Q <= P ->
  P ^ 2 - Q ^ 2 = e * g ^ 2 -> m ^ 2 <= b ^ 2 / (e * k) * P ^ 2 ->
  G * m * (/ Q - / P) <= b * (g ^ 2 / (4 * s * Q) + s / k * G ^ 2 * (/ Q - / P)).
Proof.
  intros He Hk Hb Hs HQ HPQ Hg Hm.
  assert (HP : 0 < P) by lra.
  destruct (sqrt_sq_pos e He) as [Hre Hree]. destruct (sqrt_sq_pos k Hk) as [Hrk Hrkk].
  set (x := sqrt e) in *. set (y := sqrt k) in *.
  set (z := P - Q).
  assert (Hz : 0 <= z) by (unfold z; lra).
  (* |m| <= b P / (x y) *)
  assert (HmP : Rabs m <= b * P / (x * y)).
  { apply Rsqr_incr_0_var.
    - rewrite <- Rsqr_abs. unfold Rsqr. replace (m * m) with (m ^ 2) by ring.
      apply Rle_trans with (1 := Hm). right. rewrite <- Hree, <- Hrkk. field. lra.
    - apply Rmult_le_pos; [apply Rmult_le_pos; lra | left; apply Rinv_0_lt_compat; nra]. }
  assert (HGm : G * m <= Rabs G * (b * P / (x * y))).
  { apply Rle_trans with (Rabs (G * m)); [apply Rle_abs|]. rewrite Rabs_mult.
    apply Rmult_le_compat_l; [apply Rabs_pos | exact HmP]. }
  assert (Hdiff : / Q - / P = z / (P * Q)) by (unfold z; field; lra).
  rewrite Hdiff.
  assert (Hz' : 0 <= z / (P * Q))
    by (apply Rmult_le_pos; [exact Hz | left; apply Rinv_0_lt_compat; nra]).
  apply (Rmult_le_compat_r _ _ _ Hz') in HGm. apply Rle_trans with (1 := HGm).
  replace (Rabs G * (b * P / (x * y)) * (z / (P * Q)))
    with (b * (z / Q * (Rabs G / y / x))) by (field; lra).
  apply Rmult_le_compat_l; [exact Hb|].
  assert (Hg2 : g ^ 2 = z * (P + Q) / (x * x)).
  { apply (Rmult_eq_reg_l e); [|lra]. rewrite <- Hg, Hree. unfold z. field. lra. }
  rewrite Hg2. rewrite <- (pow2_abs G).
  set (A := Rabs G / y).
  replace (s / k * Rabs G ^ 2) with (s * A ^ 2) by (unfold A; rewrite <- Hrkk; field; lra).
  assert (Hsq : 0 <= z / Q * ((s * A - P / (2 * x)) ^ 2 / (s * P))).
  { apply Rmult_le_pos.
    - apply Rmult_le_pos; [exact Hz | left; apply Rinv_0_lt_compat; lra].
    - apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; nra]. }
  assert (Hrest : 0 <= z / Q * (Q / (4 * s * (x * x)))).
  { apply Rmult_le_pos.
    - apply Rmult_le_pos; [exact Hz | left; apply Rinv_0_lt_compat; lra].
    - apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat].
      apply Rmult_lt_0_compat; [lra | apply Rmult_lt_0_compat; lra]. }
  assert (Hid : z * (P + Q) / (x * x) / (4 * s * Q) + s * A ^ 2 * (z / (P * Q))
                = z / Q * (A / x) + (z / Q * ((s * A - P / (2 * x)) ^ 2 / (s * P))
                                     + z / Q * (Q / (4 * s * (x * x))))) by (field; lra).
  rewrite Hid. lra.
Qed.

(** The ratio [m^2 / v] stays bounded. *)
Lemma ratio_bound beta1 beta2 c m v g :
  0 <= beta1 -> 0 < beta2 < 1 -> beta1 ^ 2 < beta2 -> 0 < v ->
  c = (1 - beta1) ^ 2 / ((1 - beta2) * (1 - beta1 ^ 2 / beta2)) -> m ^ 2 <= c * v ->
  (beta1 * m + (1 - beta1) * g) ^ 2 <= c * (beta2 * v + (1 - beta2) * g ^ 2).
Proof.
  intros Hb1 [Hb20 Hb21] Hg Hv Hc Hm.
  set (b := 1 - beta1) in *. set (e := 1 - beta2) in *.
  assert (He : 0 < e) by (unfold e; lra).
  assert (Hk : 0 < 1 - beta1 ^ 2 / beta2).
  { assert (beta1 ^ 2 / beta2 < 1); [|lra].
    apply (Rmult_lt_reg_r beta2); [lra|]. field_simplify; lra. }
  set (k := 1 - beta1 ^ 2 / beta2) in *.
  assert (Hc0 : 0 <= c).
  { rewrite Hc. apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; nra]. }
  destruct (Rle_lt_or_eq_dec 0 c Hc0) as [Hcpos | <-].
  - (* weights beta1^2/beta2 and 1 - beta1^2/beta2 = k *)
    assert (Hmv : m ^ 2 / c <= v).
    { apply (Rmult_le_reg_r c); [exact Hcpos|]. replace (m ^ 2 / c * c) with (m ^ 2) by (field; lra). lra. }
    apply Rle_trans with (c * (beta2 * (m ^ 2 / c) + e * g ^ 2)).
    + (* the difference is a square *)
      assert (Hckb : c * (e * k) = b ^ 2) by (rewrite Hc; field; split; lra).
      assert (Hbpos : b <> 0).
      { intros Hb0. rewrite Hb0 in Hckb. assert (0 < e * k) by nra. nra. }
      assert (Hbe : beta2 * k = beta2 - beta1 ^ 2) by (unfold k; field; lra).
      (* beta2 m^2 + c e g^2 - (beta1 m + b g)^2 = (beta2 k m^2) - 2 beta1 b m g + (c e - b^2) g^2 *)
      assert (Hce : c * e - b ^ 2 = c * e * (beta1 ^ 2 / beta2)).
      { replace (b ^ 2) with (c * (e * k)) by exact Hckb. unfold k. ring. }
      assert (Hsq : 0 <= (beta2 * k * m - beta1 * b * g) ^ 2 / (beta2 * k)).
      { apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; nra]. }
      assert (Hid : c * (beta2 * (m ^ 2 / c) + e * g ^ 2) - (beta1 * m + b * g) ^ 2
                    = (beta2 * k * m - beta1 * b * g) ^ 2 / (beta2 * k)).
      { replace (c * (beta2 * (m ^ 2 / c) + e * g ^ 2)) with (beta2 * m ^ 2 + c * e * g ^ 2)
          by (field; lra).
        assert (E1 : c * e = b ^ 2 / k) by (rewrite <- Hckb; field; lra).
        rewrite E1. replace beta2 with (beta2 * k + beta1 ^ 2) at 1 by lra.
        assert (E2 : b ^ 2 / k - b ^ 2 = beta1 ^ 2 * b ^ 2 / (beta2 * k)).
        { unfold k in *. field. split; lra. }
        replace ((beta2 * k + beta1 ^ 2) * m ^ 2 + b ^ 2 / k * g ^ 2 - (beta1 * m + b * g) ^ 2)
          with (beta2 * k * m ^ 2 - 2 * beta1 * b * m * g + (b ^ 2 / k - b ^ 2) * g ^ 2) by ring.
        rewrite E2. field. split; lra. }
      lra.
    + apply Rmult_le_compat_l; [lra|]. apply Rplus_le_compat_r. apply Rmult_le_compat_l; lra.
  - assert (Hm0 : m = 0) by nra.
    assert (Hb0 : b = 0).
    { assert (Hckb : 0 * (e * k) = b ^ 2) by (rewrite Hc; field; split; lra). nra. }
    rewrite Hm0, Hb0. right. ring.
Qed.

(** A cross term of two vectors, one of which is bounded by a third. *)
Lemma cross_term d (D y z : vec) c :
  0 <= c -> norm_sq d D <= c ^ 2 * norm_sq d z ->
  sum d (fun i => D i * y i) <= c / 2 * (norm_sq d z + norm_sq d y).
Proof.
  intros [Hc | <-] H; unfold norm_sq in *.
  - apply Rle_trans with (sum d (fun i => / (2 * c) * D i ^ 2 + c / 2 * y i ^ 2)).
    + apply sum_le. intros i _. assert (Hsq := pow2_ge_0 (D i - c * y i)).
      apply (Rmult_le_reg_l (2 * c)); [lra|].
      replace (2 * c * (/ (2 * c) * D i ^ 2 + c / 2 * y i ^ 2))
        with (D i ^ 2 + c ^ 2 * y i ^ 2) by (field; lra). lra.
    + rewrite sum_plus, !sum_scal.
      apply (Rmult_le_compat_l (/ (2 * c))) in H; [|left; apply Rinv_0_lt_compat; lra].
      replace (/ (2 * c) * (c ^ 2 * sum d (fun i => z i ^ 2)))
        with (c / 2 * sum d (fun i => z i ^ 2)) in H by (field; lra). lra.
  - replace (0 ^ 2 * _) with 0 in H by ring.
    assert (Hz : forall i, (i < d)%nat -> D i ^ 2 = 0).
    { apply (sum_zero_terms d (fun i => D i ^ 2)); [intros; apply pow2_ge_0|].
      assert (0 <= sum d (fun i => D i ^ 2)) by (apply sum_nonneg; intros; apply pow2_ge_0). lra. }
    rewrite (sum_ext d _ (fun _ => 0)); [rewrite sum_const; lra|].
    intros i Hi. specialize (Hz i Hi). replace (D i ^ 2) with (D i * D i) in Hz by ring.
    apply Rmult_integral in Hz. destruct Hz as [-> | ->]; ring.
Qed.

(** ** One node *)

Section Node.
Context (d : nat) (alpha beta1 beta2 eta L nu : R) (F : vec -> R) (gradF : vec -> vec).
Context (gamma s q c0 kappa : R).
Context (Ha : 0 < alpha) (Hb1 : 0 <= beta1 < 1) (Hb2 : 0 < beta2 < 1) (HL : 0 <= L) (Hnu : 0 < nu).
Context (Hgamma : gamma * sqrt beta2 = beta1) (Hgamma1 : gamma < 1).
Context (Hs : s = 1 + eta ^ 2) (Hq : q = s / (1 - gamma ^ 2)).
Context (Hc0 : c0 = alpha * (1 - beta1) / (1 - gamma)).
Context (HC : q * (1 - sqrt beta2) <= 1 / 8).
Context (Hsm : smooth d L F gradF) (Hlip : lipschitz_gradient d L gradF).

(** The coefficients of [|p|^2] and [|p'|^2] in the second-order terms. *)
Definition coef_old : R := L * alpha ^ 2 * (2 * gamma + 3 * gamma ^ 2) / (2 * (1 - gamma) ^ 2).
Definition coef_new : R := L * alpha ^ 2 * (1 + 2 * gamma) / (2 * (1 - gamma) ^ 2).
Definition coef_abel : R := c0 * (8 * q ^ 2 * sqrt beta2 * L ^ 2 * alpha ^ 2 / nu).

Context (Hkappa : kappa = coef_old + coef_abel + (kappa + coef_new) * gamma) (Hkappa0 : 0 <= kappa).
Context (Hclose : (kappa + coef_new) * ((1 - beta1) ^ 2 / (1 - gamma)) * s / nu <= c0 / 4).

Lemma gamma_facts : 0 < sqrt beta2 < 1 /\ sqrt beta2 * sqrt beta2 = beta2
  /\ 0 <= gamma /\ gamma ^ 2 * beta2 = beta1 ^ 2 /\ 0 < 1 - gamma ^ 2 /\ 1 <= s /\ 0 < q /\ 0 < c0.
Proof.
  destruct Hb2 as [H0 H1]. destruct (sqrt_sq_pos beta2 H0) as [Hr Hrr].
  assert (Hr1 : sqrt beta2 < 1) by (rewrite <- sqrt_1; apply sqrt_lt_1; lra).
  assert (Hg0 : 0 <= gamma).
  { apply (Rmult_le_reg_r (sqrt beta2)); [exact Hr|]. rewrite Hgamma. lra. }
  assert (Hg2 : gamma ^ 2 * beta2 = beta1 ^ 2) by (rewrite <- Hgamma, <- Hrr at 1; ring).
  assert (Hk : 0 < 1 - gamma ^ 2) by nra.
  assert (He := pow2_ge_0 eta).
  repeat split; try assumption; try lra.
  - rewrite Hq. apply Rdiv_lt_0_compat; lra.
  - rewrite Hc0. apply Rdiv_lt_0_compat; [apply Rmult_lt_0_compat; lra | lra].
Qed.

Definition look_ahead (wp w : vec) : vec := fun i => (w i - gamma * wp i) / (1 - gamma).
Definition ratio (m v : vec) : vec := fun i => m i / sqrt (v i).

Definition potential (wp w m v : vec) : R :=
  F (look_ahead wp w) + c0 * q * sum d (fun i => gradF wp i ^ 2 / sqrt (v i))
  + kappa * norm_sq d (ratio m v).

(** What is true of the state with at most [n] steps to go. *)
Definition state (n : nat) (wp w m v : vec) : Prop :=
  (forall i, w i - wp i = - alpha * ratio m v i)
  /\ forall i, (i < d)%nat ->
       0 < v i /\ nu ^ 2 <= beta2 ^ n * v i
       /\ m i ^ 2 <= (1 - beta1) ^ 2 / ((1 - beta2) * (1 - gamma ^ 2)) * v i.

Lemma state_step n wp w m v g : state (S n) wp w m v ->
  let m' := m_step beta1 m g in let v' := v_step beta2 v g in
  state n w (w_step alpha w m' v') m' v'.
Proof.
  destruct gamma_facts as (Hr & Hrr & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  intros [Hw Hv] m' v'. split.
  - intros i. unfold w_step, ratio. ring.
  - intros i Hi. destruct (Hv i Hi) as (Hv0 & Hnuv & Hm).
    assert (Hsq := pow2_ge_0 (g i)).
    assert (Hbv : 0 < beta2 * v i) by (apply Rmult_lt_0_compat; lra).
    assert (Heg : 0 <= (1 - beta2) * g i ^ 2) by (apply Rmult_le_pos; lra).
    unfold v', v_step. split; [lra|]. split.
    + change (beta2 ^ S n) with (beta2 * beta2 ^ n) in Hnuv. apply Rle_trans with (1 := Hnuv).
      replace (beta2 * beta2 ^ n * v i) with (beta2 ^ n * (beta2 * v i)) by ring.
      apply Rmult_le_compat_l; [apply pow_le; lra | lra].
    + unfold m', m_step. apply ratio_bound with (v := v i); try lra.
      * rewrite <- Hg2. nra.
      * do 3 f_equal. rewrite <- Hg2. field. lra.
Qed.

(** One outcome: the smoothness inequality at the look-ahead point. *)
Lemma look_ahead_descent n wp w m v g :
  state (S n) wp w m v ->
  let m' := m_step beta1 m g in let v' := v_step beta2 v g in
  F (look_ahead w (w_step alpha w m' v'))
  <= F (look_ahead wp w)
     + sum d (fun i => gradF w i * (- (alpha / (1 - gamma)) * (ratio m' v' i - gamma * ratio m v i)))
     + coef_old * norm_sq d (ratio m v) + coef_new * norm_sq d (ratio m' v').
Proof.
  destruct gamma_facts as (Hr & Hrr & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  intros [Hw _] m' v'.
  set (p := ratio m v). set (p' := ratio m' v'). set (u := look_ahead wp w).
  set (delta := fun i => - (alpha / (1 - gamma)) * (p' i - gamma * p i)).
  assert (Hu : forall i, look_ahead w (w_step alpha w m' v') i - u i = delta i).
  { intros i. unfold u, look_ahead, delta, w_step. fold (ratio m' v' i). fold (p' i).
    specialize (Hw i). fold (p i) in Hw. replace (wp i) with (w i + alpha * p i) by lra.
    field. lra. }
  assert (H := Hsm u (look_ahead w (w_step alpha w m' v'))).
  rewrite (sum_ext d (fun i => gradF u i * _) (fun i => gradF u i * delta i)) in H
    by (intros; rewrite Hu; reflexivity).
  rewrite (sum_ext d (fun i => (_ - _) ^ 2) (fun i => delta i ^ 2)) in H
    by (intros; rewrite Hu; reflexivity).
  apply Rle_trans with (1 := H).
  (* the gradient at u against the gradient at w *)
  set (D := fun i => gradF u i - gradF w i). set (c := L * gamma * alpha / (1 - gamma)).
  assert (Hc : 0 <= c).
  { unfold c. apply Rmult_le_pos; [repeat apply Rmult_le_pos; lra | left; apply Rinv_0_lt_compat; lra]. }
  assert (HD : norm_sq d D <= c ^ 2 * norm_sq d p).
  { apply Rle_trans with (1 := Hlip w u). right. unfold norm_sq. rewrite <- !sum_scal.
    apply sum_ext. intros i _. unfold u, look_ahead, c. specialize (Hw i). fold (p i) in Hw.
    replace (wp i) with (w i + alpha * p i) by lra. field. lra. }
  assert (H1 := cross_term d D (fun i => - p' i) p c Hc HD).
  assert (H2 := cross_term d D p p c Hc HD).
  assert (Hneg : norm_sq d (fun i => - p' i) = norm_sq d p') by (apply sum_ext; intros; ring).
  rewrite Hneg in H1.
  assert (Hsplit : sum d (fun i => gradF u i * delta i)
    = sum d (fun i => gradF w i * delta i)
      + alpha / (1 - gamma) * (sum d (fun i => D i * - p' i) + gamma * sum d (fun i => D i * p i))).
  { rewrite <- (sum_scal d gamma), <- sum_plus, <- sum_scal, <- sum_plus. apply sum_ext.
    intros i _. unfold D, delta. ring. }
  assert (Hdelta : sum d (fun i => delta i ^ 2)
    <= (alpha / (1 - gamma)) ^ 2 * ((1 + gamma) * (norm_sq d p' + gamma * norm_sq d p))).
  { unfold norm_sq. rewrite <- (sum_scal d gamma), <- sum_plus, <- !sum_scal. apply sum_le.
    intros i _. unfold delta.
    replace ((- (alpha / (1 - gamma)) * (p' i - gamma * p i)) ^ 2)
      with ((alpha / (1 - gamma)) ^ 2 * (p' i - gamma * p i) ^ 2) by ring.
    apply Rmult_le_compat_l; [apply pow2_ge_0|].
    assert (Hsq := pow2_ge_0 (p' i + p i)).
    assert (0 <= gamma * (p' i + p i) ^ 2) by (apply Rmult_le_pos; lra). nra. }
  rewrite Hsplit. fold delta.
  assert (Hk1 : 0 <= alpha / (1 - gamma))
    by (left; apply Rdiv_lt_0_compat; lra).
  apply (Rmult_le_compat_l gamma) in H2; [|exact Hg0].
  assert (H3 : sum d (fun i => D i * - p' i) + gamma * sum d (fun i => D i * p i)
               <= c / 2 * (norm_sq d p + norm_sq d p') + gamma * (c / 2 * (norm_sq d p + norm_sq d p)))
    by lra.
  apply (Rmult_le_compat_l _ _ _ Hk1) in H3.
  assert (HL2 : 0 <= L / 2) by lra. apply (Rmult_le_compat_l _ _ _ HL2) in Hdelta.
  assert (Hfinal : alpha / (1 - gamma)
      * (c / 2 * (norm_sq d p + norm_sq d p') + gamma * (c / 2 * (norm_sq d p + norm_sq d p)))
    + L / 2 * ((alpha / (1 - gamma)) ^ 2 * ((1 + gamma) * (norm_sq d p' + gamma * norm_sq d p)))
    = coef_old * norm_sq d p + coef_new * norm_sq d p').
  { unfold coef_old, coef_new, c. field. lra. }
  change (fun i => gradF w i * (- (alpha / (1 - gamma)) * (p' i - gamma * p i)))
    with (fun i => gradF w i * delta i).
  lra.
Qed.

(** One outcome, one coordinate: the leading term. *)
Lemma leading_term n wp w m v g i :
  state (S n) wp w m v -> (i < d)%nat ->
  let m' := m_step beta1 m g in let v' := v_step beta2 v g in let Q := sqrt (beta2 * v i) in
  gradF w i * (- (alpha / (1 - gamma)) * (ratio m' v' i - gamma * ratio m v i))
  <= - c0 * (gradF w i * g i / Q)
     + c0 * (g i ^ 2 / (4 * s * Q) + q * gradF w i ^ 2 * (/ Q - / sqrt (v' i))).
Proof.
  destruct gamma_facts as (Hr & Hrr & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  intros Hst Hi m' v' Q.
  destruct (state_step n wp w m v g Hst) as [_ Hv']. specialize (Hv' i Hi).
  cbv zeta in Hv'. fold m' v' in Hv'. destruct Hv' as (Hv'0 & _ & Hm').
  destruct Hst as [_ Hv]. destruct (Hv i Hi) as (Hv0 & _ & _).
  assert (Hbv : 0 < beta2 * v i) by (apply Rmult_lt_0_compat; lra).
  destruct (sqrt_sq_pos _ Hbv) as [HQ HQQ]. fold Q in HQ, HQQ.
  destruct (sqrt_sq_pos _ Hv'0) as [HP HPP].
  assert (Hsq := pow2_ge_0 (g i)).
  assert (Heg : 0 <= (1 - beta2) * g i ^ 2) by (apply Rmult_le_pos; lra).
  assert (HQP : Q <= sqrt (v' i)) by (apply sqrt_le_1_alt; unfold v', v_step; lra).
  set (P := sqrt (v' i)) in *.
  assert (HPQ2 : P ^ 2 - Q ^ 2 = (1 - beta2) * g i ^ 2).
  { replace (P ^ 2) with (P * P) by ring. replace (Q ^ 2) with (Q * Q) by ring.
    rewrite HPP, HQQ. unfold v', v_step. ring. }
  assert (HmP : m' i ^ 2 <= (1 - beta1) ^ 2 / ((1 - beta2) * (1 - gamma ^ 2)) * P ^ 2).
  { replace (P ^ 2) with (P * P) by ring. rewrite HPP. exact Hm'. }
  assert (H := preconditioner_change (1 - beta2) (1 - gamma ^ 2) (1 - beta1) s P Q
    (gradF w i) (g i) (m' i) ltac:(lra) Hk ltac:(lra) ltac:(lra) HQ HQP HPQ2 HmP).
  rewrite <- Hq in H.
  (* the recursion of the ratio *)
  assert (Hp : gamma * ratio m v i = beta1 * m i / Q).
  { unfold ratio, Q. rewrite sqrt_mult by lra. rewrite <- Hgamma.
    destruct (sqrt_sq_pos _ Hv0) as [Hrv _]. field. lra. }
  assert (Hratio : ratio m' v' i - gamma * ratio m v i
                   = (1 - beta1) * g i / Q - m' i * (/ Q - / P)).
  { rewrite Hp. unfold ratio. fold P. unfold m' at 1 2, m_step. field. lra. }
  rewrite Hratio.
  assert (Hk1 : 0 <= alpha / (1 - gamma)) by (left; apply Rdiv_lt_0_compat; lra).
  apply (Rmult_le_compat_l _ _ _ Hk1) in H.
  replace (gradF w i * (- (alpha / (1 - gamma)) * ((1 - beta1) * g i / Q - m' i * (/ Q - / P))))
    with (- (alpha * (1 - beta1) / (1 - gamma)) * (gradF w i * g i / Q)
          + alpha / (1 - gamma) * (gradF w i * m' i * (/ Q - / P))) by (field; lra).
  rewrite <- Hc0. apply Rplus_le_compat_l. apply Rle_trans with (1 := H).
  right. rewrite Hc0. field. lra.
Qed.

(** One outcome, one coordinate: the ratio forgets at rate [gamma]. *)
Lemma ratio_step n wp w m v g i :
  state (S n) wp w m v -> (i < d)%nat ->
  ratio (m_step beta1 m g) (v_step beta2 v g) i ^ 2
  <= gamma * ratio m v i ^ 2 + (1 - beta1) ^ 2 / (1 - gamma) * (g i ^ 2 / (beta2 * v i)).
Proof.
  destruct gamma_facts as (Hr & Hrr & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  intros Hst Hi.
  destruct (state_step n wp w m v g Hst) as [_ Hv']. destruct (Hv' i Hi) as (Hv'0 & _ & _).
  destruct Hst as [_ Hv]. destruct (Hv i Hi) as (Hv0 & _ & _).
  assert (Hbv : 0 < beta2 * v i) by (apply Rmult_lt_0_compat; lra).
  destruct (sqrt_sq_pos _ Hbv) as [HQ HQQ]. set (Q := sqrt (beta2 * v i)) in *.
  destruct (sqrt_sq_pos _ Hv'0) as [HP HPP].
  assert (Hsq := pow2_ge_0 (g i)).
  assert (Heg : 0 <= (1 - beta2) * g i ^ 2) by (apply Rmult_le_pos; lra).
  assert (HQP : Q <= sqrt (v_step beta2 v g i)) by (apply sqrt_le_1_alt; unfold v_step; lra).
  set (P := sqrt (v_step beta2 v g i)) in *.
  assert (Hp : gamma * ratio m v i = beta1 * m i / Q).
  { unfold ratio, Q. rewrite sqrt_mult by lra. rewrite <- Hgamma.
    destruct (sqrt_sq_pos _ Hv0) as [Hrv _]. field. lra. }
  set (x := ratio m v i) in *. set (y := (1 - beta1) * g i / Q).
  assert (Hnum : m_step beta1 m g i = (gamma * x + y) * Q).
  { rewrite Hp. unfold y, m_step. field. lra. }
  unfold ratio. fold P. rewrite Hnum.
  replace (((gamma * x + y) * Q / P) ^ 2) with ((gamma * x + y) ^ 2 * (Q / P) ^ 2) by (field; lra).
  assert (HQP1 : (Q / P) ^ 2 <= 1).
  { rewrite <- (pow1 2). apply pow_incr. split.
    - apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; exact HP].
    - apply (Rmult_le_reg_r P); [exact HP|]. field_simplify; lra. }
  assert (H0 := pow2_ge_0 (gamma * x + y)).
  apply Rle_trans with ((gamma * x + y) ^ 2); [nra|].
  replace ((1 - beta1) ^ 2 / (1 - gamma) * (g i ^ 2 / (beta2 * v i))) with (y ^ 2 / (1 - gamma)).
  2:{ unfold y. rewrite <- HQQ. field. lra. }
  apply (Rmult_le_reg_r (1 - gamma)); [lra|].
  replace ((gamma * x ^ 2 + y ^ 2 / (1 - gamma)) * (1 - gamma))
    with (gamma * (1 - gamma) * x ^ 2 + y ^ 2) by (field; lra).
  assert (Hc := pow2_ge_0 ((1 - gamma) * x - y)).
  assert (0 <= gamma * ((1 - gamma) * x - y) ^ 2) by (apply Rmult_le_pos; lra). nra.
Qed.

(** The shift of the preconditioner terms by one step. *)
Lemma abel_shift n wp w m v :
  state (S n) wp w m v ->
  q * sum d (fun i => gradF w i ^ 2 / sqrt (beta2 * v i))
  <= q * sum d (fun i => gradF wp i ^ 2 / sqrt (v i))
     + / 4 * sum d (fun i => gradF w i ^ 2 / sqrt (beta2 * v i))
     + 8 * q ^ 2 * sqrt beta2 * L ^ 2 * alpha ^ 2 / nu * norm_sq d (ratio m v).
Proof.
  destruct gamma_facts as (Hr & Hrr & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  intros [Hw Hv]. set (rb := sqrt beta2) in *.
  assert (HD : norm_sq d (fun i => gradF w i - gradF wp i) <= L ^ 2 * (alpha ^ 2 * norm_sq d (ratio m v))).
  { apply Rle_trans with (1 := Hlip wp w). right. f_equal. unfold norm_sq. rewrite <- sum_scal.
    apply sum_ext. intros i _. rewrite Hw. ring. }
  assert (Hcoord : q * sum d (fun i => gradF w i ^ 2 / sqrt (beta2 * v i))
    <= q * sum d (fun i => gradF wp i ^ 2 / sqrt (v i))
       + / 4 * sum d (fun i => gradF w i ^ 2 / sqrt (beta2 * v i))
       + 8 * q ^ 2 * rb / nu * norm_sq d (fun i => gradF w i - gradF wp i)).
  { unfold norm_sq. rewrite <- !sum_scal, <- !sum_plus. apply sum_le. intros i Hi.
    destruct (Hv i Hi) as (Hv0 & Hnuv & _).
    assert (HnuQ2 : nu ^ 2 <= beta2 * v i).
    { apply Rle_trans with (1 := Hnuv). rewrite <- tech_pow_Rmult.
      assert (Hpn : beta2 ^ n <= 1) by (rewrite <- (pow1 n); apply pow_incr; lra).
      assert (0 < beta2 ^ n) by (apply pow_lt; lra).
      replace (beta2 * beta2 ^ n * v i) with (beta2 ^ n * (beta2 * v i)) by ring.
      assert (0 < beta2 * v i) by (apply Rmult_lt_0_compat; lra). nra. }
    assert (HnuQ : nu <= sqrt (beta2 * v i)).
    { rewrite <- (sqrt_pow2 nu) by lra. apply sqrt_le_1_alt. exact HnuQ2. }
    assert (Hroot : sqrt (v i) = sqrt (beta2 * v i) / rb).
    { rewrite sqrt_mult by lra. fold rb. field. lra. }
    rewrite Hroot. set (Q := sqrt (beta2 * v i)) in *.
    set (G := gradF w i). set (G' := gradF wp i).
    assert (HQi : 0 < / Q) by (apply Rinv_0_lt_compat; lra).
    assert (Hinv : / Q <= / nu) by (apply Rinv_le_contravar; lra).
    (* G^2 - G'^2 <= a G^2 + (G - G')^2 / a with a = 1/(8 q) *)
    assert (Ha2 : q * (G ^ 2 - G' ^ 2) <= / 8 * G ^ 2 + 8 * q ^ 2 * (G - G') ^ 2).
    { assert (Hsq := pow2_ge_0 (G - 8 * q * (G - G'))). assert (Hsq2 := pow2_ge_0 (G - G')).
      assert (0 <= q * (G - G') ^ 2) by (apply Rmult_le_pos; lra). nra. }
    assert (Hmain : q * G ^ 2 <= q * (rb * G' ^ 2) + / 4 * G ^ 2 + 8 * q ^ 2 * rb * (G - G') ^ 2).
    { apply (Rmult_le_compat_l rb) in Ha2; [|lra].
      assert (HG := pow2_ge_0 G).
      assert (q * (1 - rb) * G ^ 2 <= 1 / 8 * G ^ 2) by (apply Rmult_le_compat_r; lra).
      assert (rb * (/ 8 * G ^ 2) <= 1 * (/ 8 * G ^ 2)) by (apply Rmult_le_compat_r; lra). lra. }
    apply (Rmult_le_compat_r (/ Q)) in Hmain; [|lra].
    assert (Hlast : 8 * q ^ 2 * rb * (G - G') ^ 2 * / Q <= 8 * q ^ 2 * rb * (G - G') ^ 2 * / nu).
    { apply Rmult_le_compat_l; [|exact Hinv].
      apply Rmult_le_pos; [|apply pow2_ge_0]. apply Rmult_le_pos; [|lra].
      apply Rmult_le_pos; [lra | apply pow2_ge_0]. }
    replace (G' ^ 2 / (Q / rb)) with (rb * G' ^ 2 * / Q) by (field; lra).
    unfold Rdiv in *. lra. }
  assert (Hfac : 0 <= 8 * q ^ 2 * rb / nu).
  { apply Rmult_le_pos; [|left; apply Rinv_0_lt_compat; exact Hnu].
    apply Rmult_le_pos; [|lra]. apply Rmult_le_pos; [lra | apply pow2_ge_0]. }
  apply (Rmult_le_compat_l _ _ _ Hfac) in HD.
  apply Rle_trans with (1 := Hcoord). apply Rplus_le_compat_l. apply Rle_trans with (1 := HD).
  right. unfold Rdiv. ring.
Qed.

(** The potential falls by a quarter of the leading term on average. *)
Lemma potential_step n wp w m v k p g :
  state (S n) wp w m v -> distribution k p ->
  (forall i, (i < d)%nat -> mean k p (fun j => g j i) = gradF w i) ->
  (forall i, (i < d)%nat ->
     mean k p (fun j => (g j i - gradF w i) ^ 2) <= eta ^ 2 * gradF w i ^ 2) ->
  c0 / 4 * sum d (fun i => gradF w i ^ 2 / sqrt (beta2 * v i))
  + mean k p (fun j =>
      let m' := m_step beta1 m (g j) in let v' := v_step beta2 v (g j) in
      potential w (w_step alpha w m' v') m' v')
  <= potential wp w m v.
Proof.
  destruct gamma_facts as (Hr & Hrr & Hg0 & Hg2 & Hk & Hs1 & Hq0 & Hc00).
  intros Hst Hd Hub Htest.
  assert (Hv := proj2 Hst).
  set (Q := fun i => sqrt (beta2 * v i)).
  set (bz := (1 - beta1) ^ 2 / (1 - gamma)).
  assert (Hbz : 0 <= bz)
    by (apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; lra]).
  assert (Hnew : 0 <= coef_new).
  { unfold coef_new. apply Rmult_le_pos.
    - apply Rmult_le_pos; [apply Rmult_le_pos; [lra | apply pow2_ge_0] | lra].
    - left. apply Rinv_0_lt_compat. assert (0 < (1 - gamma) ^ 2) by (apply pow_lt; lra). lra. }
  (* outcome by outcome, in the moments of g *)
  apply Rle_trans with
    (c0 / 4 * sum d (fun i => gradF w i ^ 2 / Q i)
     + mean k p (fun j => (F (look_ahead wp w)
         + (coef_old + (kappa + coef_new) * gamma) * norm_sq d (ratio m v)
         + c0 * q * sum d (fun i => gradF w i ^ 2 / Q i))
       + sum d (fun i => - c0 / Q i * gradF w i * g j i
           + (c0 / (4 * s) / Q i + (kappa + coef_new) * bz / (beta2 * v i)) * g j i ^ 2))).
  { apply Rplus_le_compat_l. apply mean_le; [exact Hd|]. intros j Hj. cbv zeta.
    set (m' := m_step beta1 m (g j)). set (v' := v_step beta2 v (g j)).
    unfold potential at 1.
    assert (H1 := look_ahead_descent n wp w m v (g j) Hst). cbv zeta in H1. fold m' v' in H1.
    assert (H2 : sum d (fun i => gradF w i * (- (alpha / (1 - gamma)) * (ratio m' v' i - gamma * ratio m v i)))
      <= sum d (fun i => - c0 * (gradF w i * g j i / Q i)
           + c0 * (g j i ^ 2 / (4 * s * Q i) + q * gradF w i ^ 2 * (/ Q i - / sqrt (v' i))))).
    { apply sum_le. intros i Hi. exact (leading_term n wp w m v (g j) i Hst Hi). }
    assert (H3 : norm_sq d (ratio m' v')
      <= sum d (fun i => gamma * ratio m v i ^ 2 + bz * (g j i ^ 2 / (beta2 * v i)))).
    { apply sum_le. intros i Hi. exact (ratio_step n wp w m v (g j) i Hst Hi). }
    apply (Rmult_le_compat_l (kappa + coef_new)) in H3; [|lra].
    rewrite sum_plus, !sum_scal in H3. fold (norm_sq d (ratio m v)) in H3.
    apply Rle_trans with
      (F (look_ahead wp w) + coef_old * norm_sq d (ratio m v)
       + (kappa + coef_new) * (gamma * norm_sq d (ratio m v)
            + bz * sum d (fun i => g j i ^ 2 / (beta2 * v i)))
       + (sum d (fun i => - c0 * (gradF w i * g j i / Q i)
           + c0 * (g j i ^ 2 / (4 * s * Q i) + q * gradF w i ^ 2 * (/ Q i - / sqrt (v' i))))
          + c0 * q * sum d (fun i => gradF w i ^ 2 / sqrt (v' i)))); [lra|].
    right.
    rewrite <- (sum_scal d bz), <- !(sum_scal d (c0 * q)).
    assert (E1 : sum d (fun i => - c0 * (gradF w i * g j i / Q i)
           + c0 * (g j i ^ 2 / (4 * s * Q i) + q * gradF w i ^ 2 * (/ Q i - / sqrt (v' i))))
        + sum d (fun i => c0 * q * (gradF w i ^ 2 / sqrt (v' i)))
        + (kappa + coef_new) * sum d (fun i => bz * (g j i ^ 2 / (beta2 * v i)))
      = sum d (fun i => c0 * q * (gradF w i ^ 2 / Q i))
        + sum d (fun i => - c0 / Q i * gradF w i * g j i
           + (c0 / (4 * s) / Q i + (kappa + coef_new) * bz / (beta2 * v i)) * g j i ^ 2)).
    { rewrite <- (sum_scal d (kappa + coef_new)), <- !sum_plus. apply sum_ext. intros i Hi.
      destruct (Hv i Hi) as (Hv0 & _ & _).
      assert (HQ : 0 < Q i) by (apply sqrt_lt_R0; apply Rmult_lt_0_compat; lra).
      unfold Rdiv. rewrite !Rinv_mult. ring. }
    rewrite !Rmult_plus_distr_l. lra. }
  rewrite mean_plus, mean_const, mean_sum by exact Hd.
  (* the moments of g *)
  assert (Hmom : sum d (fun i => mean k p (fun j => - c0 / Q i * gradF w i * g j i
        + (c0 / (4 * s) / Q i + (kappa + coef_new) * bz / (beta2 * v i)) * g j i ^ 2))
    <= sum d (fun i => - (c0 / 2) * (gradF w i ^ 2 / Q i))).
  { apply sum_le. intros i Hi. destruct (Hv i Hi) as (Hv0 & Hnuv & _).
    assert (Hbv : 0 < beta2 * v i) by (apply Rmult_lt_0_compat; lra).
    destruct (sqrt_sq_pos _ Hbv) as [HQ HQQ].
    fold (Q i) in HQ, HQQ. set (G := gradF w i) in *. set (Qi := Q i) in *.
    rewrite mean_plus, !mean_scal. rewrite Hub by exact Hi. fold G.
    assert (Hm2 : mean k p (fun j => g j i ^ 2) <= s * G ^ 2).
    { specialize (Htest i Hi). fold G in Htest.
      rewrite (mean_ext k p (fun j => (g j i - G) ^ 2)
                 (fun j => g j i ^ 2 + (- (2 * G) * g j i + G ^ 2))) in Htest by (intros; ring).
      rewrite mean_plus, mean_plus, mean_scal, mean_const, Hub in Htest by assumption.
      fold G in Htest. rewrite Hs. lra. }
    assert (HnuQ : nu <= Qi).
    { unfold Qi, Q. rewrite <- (sqrt_pow2 nu) by lra. apply sqrt_le_1_alt.
      apply Rle_trans with (1 := Hnuv). rewrite <- tech_pow_Rmult.
      assert (Hpn : beta2 ^ n <= 1) by (rewrite <- (pow1 n); apply pow_incr; lra).
      assert (0 < beta2 ^ n) by (apply pow_lt; lra).
      replace (beta2 * beta2 ^ n * v i) with (beta2 ^ n * (beta2 * v i)) by ring. nra. }
    assert (HKb : 0 <= (kappa + coef_new) * bz) by (apply Rmult_le_pos; lra).
    assert (HKi : (kappa + coef_new) * bz / (beta2 * v i) <= (kappa + coef_new) * bz / nu / Qi).
    { rewrite <- HQQ. unfold Rdiv. rewrite Rinv_mult, <- Rmult_assoc.
      apply Rmult_le_compat_r; [left; apply Rinv_0_lt_compat; exact HQ|].
      apply Rmult_le_compat_l; [exact HKb | apply Rinv_le_contravar; lra]. }
    set (coefQ := c0 / (4 * s) / Qi + (kappa + coef_new) * bz / (beta2 * v i)).
    assert (HcoefQ : 0 <= coefQ).
    { unfold coefQ. apply Rplus_le_le_0_compat.
      - apply Rmult_le_pos; [|left; apply Rinv_0_lt_compat; exact HQ].
        apply Rmult_le_pos; [lra | left; apply Rinv_0_lt_compat; lra].
      - apply Rmult_le_pos; [exact HKb | left; apply Rinv_0_lt_compat; exact Hbv]. }
    apply (Rmult_le_compat_l _ _ _ HcoefQ) in Hm2.
    apply Rle_trans with (- c0 / Qi * G * G + coefQ * (s * G ^ 2)); [lra|].
    assert (HsG : 0 <= s * G ^ 2) by (apply Rmult_le_pos; [lra | apply pow2_ge_0]).
    assert (HcoefQ2 : coefQ * (s * G ^ 2)
      <= (c0 / (4 * s) / Qi + (kappa + coef_new) * bz / nu / Qi) * (s * G ^ 2))
      by (apply Rmult_le_compat_r; [exact HsG | unfold coefQ; lra]).
    apply Rle_trans with (1 := Rplus_le_compat_l (- c0 / Qi * G * G) _ _ HcoefQ2).
    assert (HGQ : 0 <= G ^ 2 / Qi)
      by (apply Rmult_le_pos; [apply pow2_ge_0 | left; apply Rinv_0_lt_compat; exact HQ]).
    assert (Hcl := Rmult_le_compat_r _ _ _ HGQ Hclose). fold bz in Hcl.
    replace (- c0 / Qi * G * G
             + (c0 / (4 * s) / Qi + (kappa + coef_new) * bz / nu / Qi) * (s * G ^ 2))
      with (- (3 / 4 * c0) * (G ^ 2 / Qi)
            + (kappa + coef_new) * bz * s / nu * (G ^ 2 / Qi)) by (field; lra).
    lra. }
  rewrite sum_scal in Hmom.
  assert (Habel := abel_shift n wp w m v Hst). fold Q in Habel.
  change (fun i => gradF w i ^ 2 / sqrt (beta2 * v i)) with (fun i => gradF w i ^ 2 / Q i) in Habel.
  apply (Rmult_le_compat_l c0) in Habel; [|lra].
  unfold potential.
  assert (Hkap : kappa * norm_sq d (ratio m v)
    = (coef_old + coef_abel + (kappa + coef_new) * gamma) * norm_sq d (ratio m v))
    by (rewrite <- Hkappa; reflexivity).
  rewrite Hkap. unfold coef_abel.
  change (sum d (fun i => gradF w i ^ 2 / sqrt (beta2 * v i)))
    with (sum d (fun i => gradF w i ^ 2 / Q i)).
  set (SQ := sum d (fun i => gradF w i ^ 2 / Q i)) in *.
  set (SV := sum d (fun i => gradF wp i ^ 2 / sqrt (v i))) in *.
  lra.
Qed.

End Node.
